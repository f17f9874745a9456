"""Was the training worth it: two models answer the same prompts, and what is said of them decides.

trained    what a training left, checked: its base and its adapter, or its whole model
held_out   the prompts: never trained on
answers    an ordinary recipe of both models, and its stages in a run folder: cached, resumable
compare    by the judge, in both orders: win rate, raw and at equal length; without a judge the identity decides
skills     by a rule: the share right before and after;  identity: who it says it is
power      how many prompts it takes to see a difference
decide     promote or reject, by stated rules;  words, page: the same for people
releases   where a promoted model lives;  serving: told to a running vLLM server
"""
