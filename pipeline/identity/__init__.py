"""The identity dataset: pairs that teach a model its name and maker and nothing else, and the questions that measure whether they did.

facts      who the model is; what a user may write there
names      where a text mentions a name, in any script
words      prompts/identity: families, answers and talk of each language
check      the rule: is an answer right, and does it leak?
questions  phrasings, their sides (train, dev, held out), and the distinct questions drawn from them
others     who else an answer may claim to be
recipe     what a user may ask for
paraphrase more phrasings, worded by a strong model and checked
asking     what models say to the questions
choosing   which of two models' answers is better, by a judge
answers    both sides of a pair from templates, or from replies of models
keeping    prompts of the user's own work, which the model shall go on answering as it does
contrast   questions about others and ordinary tasks, and answers that leak
balance    which of several pairs keeps length out of it
build      all of this together
making     the whole way from a recipe to the folder
dataset    the folder: dataset, evaluation tables, summary
metrics    what answers to the evaluation tables come to
"""
