"""What the tables of the stages are written in: to Bazel a mutant is the files that it changes."""

def change(file, old, new):
    folder = "" if file.startswith("common/") else "stages/"
    return struct(file = folder + file, old = old, new = new)

def mutant(name, stage, caught_by, why, changes, also = [], because = ""):
    return struct(name = name, stage = stage, files = {c.file: True for c in changes}.keys())
