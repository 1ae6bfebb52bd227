/** What people type about the case, and which parts of the model read it. */
import { element } from "./element.js";

const field = (id) => document.getElementById(id);

/** Show the fields that this model has a use for, and say honestly which. */
export function offerWords({ can }) {
  const uses = [can.search_text && "the search for similar cases", can.dialogue && "the generated text"]
    .filter(Boolean);
  field("words").hidden = !uses.length;
  field("words-use").replaceChildren("Read by ", element("strong", {}, uses.join(" and by ")),
    ". Everything else looks at the pictures alone.");
  field("names").hidden = can.decide || !can.classify_names;
}

/** The names to compare, each once. */
export function names() {
  if (field("names").hidden) return [];
  const lines = field("names-list").value.split("\n").map((line) => line.trim());
  return [...new Set(lines.filter(Boolean))];
}

function told() {
  const [age, site, symptoms] = ["age", "site", "symptoms"].map((id) => field(id).value.trim());
  return { age, site, symptoms };
}

/** The case as a sentence, for the search; empty if nothing was typed. */
export function sentence() {
  const { age, site, symptoms } = told();
  if (!age && !site) return symptoms;
  const lesion = `A skin lesion${site && ` on the ${site}`}${age && ` of a person ${age} years old`}.`;
  return `${lesion} ${symptoms}`.trim();
}

/** The case as a consultation, for the generator; empty if nothing was typed. */
export function dialogue() {
  const { age, site, symptoms } = told();
  return [
    site && `Doctor: Where is it?\nPatient: On the ${site}.`,
    age && `Doctor: How old are you?\nPatient: I am ${age} years old.`,
    symptoms && `Doctor: What have you noticed?\nPatient: ${symptoms}`,
  ].filter(Boolean).join("\n");
}
