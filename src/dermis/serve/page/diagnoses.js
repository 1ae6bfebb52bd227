/** The ranked diagnoses, the calibrated set, and "not sure". */
import { bar, capital, element, percent, ranking } from "./element.js";

export const diagnoses = {
  title: "Diagnoses",
  able: ({ can }) => can.decide || can.classify_names,
  about: (model) => model.can.decide
    ? `${model.classes.length} diagnoses, with probabilities calibrated on ${model.calibration_patients} patients, a `
      + `set that holds the truth in ${percent(model.promise)} of new patients, and an honest “not sure”.`
    : "Which of your names fits the picture best.",
  fill: async (look) => {
    const found = await look.classified();
    const [first] = found.probabilities;
    const rows = found.probabilities.map(({ name, probability }) => bar(name, probability,
      found.possible?.includes(name) ? element("span", { class: "tag" }, "possible") : null));
    return {
      nodes: [...verdict(found, look.model), ...ranking(rows, 8, "less likely"), caution(found)],
      spoken: `Most likely ${first.name}, ${percent(first.probability)}.`
        + (found.sure === false ? ` Not sure: ${found.why}.` : ""),
    };
  },
};

/** What the calibrated decision says; nothing where names were compared. */
function verdict({ sure, why, possible, promise, ood }, { calibration_patients: patients }) {
  if (sure == null) return [];
  const left = possible.length === 1 ? "One diagnosis is" : "Few diagnoses are";
  const set = possible.length ? possible.join(", ") : "none of the diagnoses";
  const head = sure
    ? [element("strong", {}, "Fairly sure. "), `${left} possible, and the picture is of a familiar kind.`]
    : [element("strong", {}, "Not sure. "), `${capital(why)}.`];
  const strange = ood == null ? "" : ` Of known pictures, ${percent(ood)} are at least as strange as this one.`;
  return [
    element("p", { class: `verdict ${sure ? "sure" : "unsure"}` }, ...head),
    element("p", {}, "Possible: ", element("strong", {}, set), "."),
    element("p", { class: "soft small" }, `In ${percent(promise)} of new patients such a set holds the truth, if they `
      + `are like the ${patients} patients on whom this was measured.${strange}`),
  ];
}

const caution = ({ source }) => element("p", { class: "soft small" }, source === "names"
  ? "The percentages compare these names with each other only. They are not calibrated: none says how often it is "
    + "right."
  : "The percentages share 100 % among these diagnoses. A disease that is not listed cannot be found.");
