"""The losses once more, as plain loops over NumPy arrays: from the definitions, sharing no code with `mmkd.losses`."""

import math

import numpy as np
from scipy.special import softmax
from scipy.stats import entropy


def soft_targets(student, teacher, temperature=4.0):
    """[B, C, *positions]: KL of each position's two softened distributions."""
    divergences = []
    for sample in range(student.shape[0]):
        for position in np.ndindex(student.shape[2:]):
            p_student = softmax(student[(sample, slice(None), *position)] / temperature)
            p_teacher = softmax(teacher[(sample, slice(None), *position)] / temperature)
            divergences.append(entropy(p_teacher, p_student))
    return temperature**2 * sum(divergences) / len(divergences)


def fitnets(student, teacher):
    total = 0.0
    for index in np.ndindex(student.shape):
        total += (student[index] - teacher[index]) ** 2
    return total / student.size


def attention_transfer(student, teacher, power=2):
    total, count = 0.0, 0
    for maps in zip(student, teacher, strict=True):
        vectors = []
        for one in maps:
            attention = [
                sum(abs(float(one[(channel, *position)])) ** power for channel in range(len(one))) / len(one)
                for position in np.ndindex(one.shape[1:])
            ]
            length = math.sqrt(sum(value * value for value in attention))
            vectors.append([value / length for value in attention])
        for q_student, q_teacher in zip(*vectors, strict=True):
            total += (q_student - q_teacher) ** 2
            count += 1
    return total / count


def huber(a, b):
    gap = abs(a - b)
    return 0.5 * gap * gap if gap < 1 else gap - 0.5


def relative_distances(rows):
    size = len(rows)
    distances = [[math.dist(rows[i], rows[j]) for j in range(size)] for i in range(size)]
    positive = [value for row in distances for value in row if value > 0]
    average = sum(positive) / len(positive)
    return [[value / average for value in row] for row in distances]


def rkd_distance(student, teacher):
    student, teacher = (relative_distances(rows.reshape(len(rows), -1).tolist()) for rows in (student, teacher))
    size = len(student)
    return sum(huber(student[i][j], teacher[i][j]) for i in range(size) for j in range(size)) / size**2


def cosine(at, one, other):
    one, other = one - at, other - at
    lengths = math.sqrt(one @ one) * math.sqrt(other @ other)
    return (one @ other) / lengths if lengths > 0 else 0.0


def rkd_angle(student, teacher):
    student, teacher = (rows.reshape(len(rows), -1) for rows in (student, teacher))
    size, total = len(student), 0.0
    for i, j, k in np.ndindex(size, size, size):
        total += huber(cosine(student[i], student[j], student[k]), cosine(teacher[i], teacher[j], teacher[k]))
    return total / size**3


def relational(student, teacher):
    return 25 * rkd_distance(student, teacher) + 50 * rkd_angle(student, teacher)


def similarity_preserving(student, teacher):
    size, total = len(student), 0.0
    for i in range(size):
        rows = []
        for maps in (student, teacher):
            row = [float(np.vdot(maps[i], maps[j])) for j in range(size)]
            length = math.sqrt(sum(value * value for value in row))
            rows.append([value / length for value in row])
        total += sum((a - b) ** 2 for a, b in zip(*rows, strict=True))
    return total / size**2
