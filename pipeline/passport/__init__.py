"""The passport of a judge: how far it agrees with people and other judges, what sways it, and whom it prefers.

    outside, inside   tables from anywhere, and our run folders, into
    verdicts          one set of columns
    labels            one label per judge and item, and people's majority
    agreement         agreement, kappa, alpha, accuracy
    position          flips, the place shown first, ties, invalid verdicts, repeated runs
    length, family    what sways a judge: the longer answer, its own relatives
    strengths         win rates and Bradley-Terry strengths of the models
    figures           all of it as one JSON object;  words, page: the same for people;  thresholds: what a recipe holds it to

An array's name ends with its axes: V verdicts, I items, J judges, C cells (a judge on an item), M models, P pairs of models,
R resamples, K the choices A, B and tie.
"""
