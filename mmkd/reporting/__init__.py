"""The proof, told to people: printed table (`table`), plots (`plots`), page (`html`), progress bars (`progress`)."""
