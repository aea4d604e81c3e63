"""mmkd-medical: Segmentation with a sequence missing, for mmkd: many MRI sequences teach a student that reads one."""
