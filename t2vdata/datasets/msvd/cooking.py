"""Decide which clips of MSVD are about cooking, by a vote of their captions: no paper has published its rule.

A caption votes for cooking if it has a cooking verb and a food noun, in any of their forms. The word lists are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from t2vdata.text.captions import words

VERBS = """
    add bake baste batter blend boil bread broil brush butter carve chop coat combine cook crack cut debone dice drain
    drizzle fillet flip fry garnish grate grill grind knead ladle marinate mash melt microwave mince mix peel poach prepare
    rinse roast saute sauté scoop scrape season shred sift simmer skim slice soak sprinkle squeeze steam stir strain stuff
    toast trim whip whisk
""".split()  # noqa: SIM905  # for the eye
"""Leaves out verbs that are as common outside the kitchen (make, put, pour, wash, roll)."""

NOUNS = """
    almond apple asparagus avocado bacon banana basil batter bean beef beet berry biscuit bread broccoli broth burger butter
    cabbage cake carrot casserole cauliflower celery cheese cherry chicken chili chilli chocolate cilantro clam coconut cookie
    corn crab cracker cream cucumber curry dish dough dressing dumpling egg eggplant fat filling fillet fish flour food fruit
    garlic ginger gravy ground-beef ham herb honey ice-cream icing ingredient jalapeno juice ketchup lamb lasagna leek lemon
    lettuce lime liquid lobster macaroni mango marinade mayonnaise meal meat meatball milk mint mixture mushroom mustard
    noodle nut oil okra olive omelet omelette onion orange oregano pancake paprika parsley pasta pastry peanut pea peach pear
    pepper pickle pie pineapple pizza plantain pork potato prawn pumpkin radish recipe rice roast salad salmon salsa salt
    sandwich sauce sausage seafood seasoning shallot shrimp soup spaghetti spice spinach squash squid steak stew stock
    strawberry sugar sushi syrup taco tofu tomato tortilla tuna turkey vanilla vegetable veggie vinegar wasabi yogurt yolk
    zucchini
""".split()  # noqa: SIM905  # for the eye


def cooking_share(captions: Sequence[str]) -> float:
    """Return the share of captions with a cooking verb and a food noun."""
    if not captions:
        return 0.0
    word_sets = [set(words(caption)) for caption in captions]
    return sum(not unique.isdisjoint(_VERB_FORMS) and not unique.isdisjoint(_NOUN_FORMS) for unique in word_sets) / len(
        captions
    )


def _forms(word: str, endings: Sequence[str]) -> set[str]:
    """Return a word and its inflections: ``dice`` and ``dicing``, ``chop`` and ``chopped``, ``fry`` and ``fries``."""
    forms = {word} | {word + ending for ending in endings}
    if word.endswith("e"):
        forms |= {word[:-1] + ending for ending in endings}
    if word.endswith("y"):
        forms |= {word[:-1] + "ies", word[:-1] + "ied"}
    return forms | {word + word[-1] + ending for ending in endings if ending in ("ed", "ing")}


_VERB_FORMS = frozenset().union(*(_forms(verb, ("s", "es", "ed", "ing")) for verb in VERBS))
_NOUN_FORMS = frozenset().union(*(_forms(noun, ("s", "es")) for noun in NOUNS))
