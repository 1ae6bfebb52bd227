"""What patient and doctor say: history and touch, which no picture shows. Nobody names a disease or a structure."""

from dermis.cases.synthetic.draws import Draws
from dermis.cases.synthetic.latent import Case
from dermis.cases.synthetic.texts import site_word, text_draws

_SPOT = ("spot", "mole", "mark", "thing")

_CHANGES = {
    "grew": ("It has been growing.", "It is bigger than it was."),
    "changed": ("It has changed its colour or shape.", "It looks different from before."),
    "itch": ("It itches.", "I keep scratching it."),
    "bleed": ("It bleeds at times.", "It bled when I dried myself."),
    "hurt": ("It hurts.", "It is sore."),
}

_NO = {
    "grew": ("It has not grown.", "It has stayed the same size."),
    "changed": ("It has not changed.", "It looks as it always did."),
    "itch": ("It does not itch.",),
    "bleed": ("It has never bled.",),
    "hurt": ("It does not hurt.",),
}

_QUESTIONS = {
    "grew": ("Has it grown?", "Is it getting bigger?"),
    "changed": ("Has it changed otherwise?", "Has the colour or shape changed?"),
    "itch": ("Does it itch?",),
    "bleed": ("Has it ever bled?", "Does it bleed?"),
    "hurt": ("Is it painful?", "Does it hurt?"),
}


def complaint(case: Case) -> str:
    """Why the patient comes: one sentence or two, in the patient's words."""
    draws = text_draws(case, 5)
    spot = f"{draws.one_of(_SPOT)} on my {site_word(case)}"
    wording = draws.one_of(("I have a {spot}{since}.", "There is a {spot}{since}.", "I worry about a {spot}{since}."))
    since = f" that I have had for {duration(case.lesion.months)}" if draws.chance(0.6) else ""
    troubles = [draws.one_of(words) for item, words in _CHANGES.items() if case.lesion.history[item]]
    return " ".join([wording.format(spot=spot, since=since), *[t for t in troubles if draws.chance(0.6)]])


def dialogue(case: Case) -> str:
    """The consultation, one turn a line, "Doctor:" and "Patient:" in turn; some questions are not asked."""
    draws, lesion, patient = text_draws(case, 4), case.lesion, case.patient
    spot = f"{draws.one_of(_SPOT)} on my {site_word(case)}"
    turns = [
        (draws.one_of(("What brings you here?", "How can I help you?")), f"I would like you to look at a {spot}."),
        (draws.one_of(("How long have you had it?", "Since when?")), f"For {duration(lesion.months)}."),
    ]
    for item, questions in _QUESTIONS.items():
        if draws.chance(0.75):
            answer = draws.one_of((_CHANGES if lesion.history[item] else _NO)[item])
            turns.append((draws.one_of(questions), answer))
    if draws.chance(0.8):
        turns.append(
            (draws.one_of(("What does it feel like?", "How does it feel to the touch?")), f"It is {lesion.feel}.")
        )
    if draws.chance(0.7):
        turns.append(
            ("Have you had skin cancer before?", "Yes, once." if patient.skin_cancer_history else "No, never.")
        )
    if draws.chance(0.6):
        answer = "Yes, a close relative." if patient.family_history else "Not that I know of."
        turns.append(("Has anybody in your family had skin cancer?", answer))
    if draws.chance(0.6):
        turns.append(("Do you have many moles?", _many(patient.nevus_proneness)))
    if draws.chance(0.5):
        turns.append(("Do you spend much time in the sun?", _sun(patient.sun_damage, draws)))
    return "\n".join(f"Doctor: {question}\nPatient: {answer}" for question, answer in turns)


def duration(months: int) -> str:
    """ "3 weeks" is never said: months below two years, years above."""
    if months < 24:
        return "a month" if months == 1 else f"{months} months"
    return f"{round(months / 12)} years"


def _many(proneness: float) -> str:
    return "Yes, a great many." if proneness > 0.65 else "Some." if proneness > 0.3 else "Hardly any."


def _sun(damage: float, draws: Draws) -> str:
    if damage > 0.45:
        return draws.one_of(("I have worked outdoors all my life.", "Yes, far too much."))
    return draws.one_of(("Not very much.", "I stay in the shade mostly."))
