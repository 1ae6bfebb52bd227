/** What the model was taught to say of a picture: concepts, labels, and the seven-point checklist made of them. */
import { bar, element, percent, ranking, readable } from "./element.js";

export const concepts = {
  title: "Visual concepts",
  able: ({ can }) => can.concepts,
  about: () => "How much more the picture resembles sentences with a concept, such as “ulcer”, than without.",
  fill: async (look) => {
    const found = (await look.ask("/v1/concepts")).concepts;
    return {
      nodes: [
        ...ranking(found.map(({ name, score }) => bar(readable(name), score)), 10, "more concepts", "two"),
        element("p", { class: "soft small" }, "50 % means: with and without fit equally well. No probabilities."),
      ],
      spoken: `The highest is ${found[0].name}, ${percent(found[0].score)}.`,
    };
  },
};

export const labels = {
  title: "Labels",
  able: ({ can }) => can.labels,
  about: () => "What the model was taught to name, each with its probability.",
  fill: async (look) => {
    const found = (await look.ask("/v1/labels")).labels;
    const rows = found.map(({ name, probabilities: [{ name: said, probability }] }) => element("tr", {},
      element("th", { scope: "row" }, readable(name)), element("td", {}, readable(said)),
      element("td", { class: "number" }, percent(probability))));
    return {
      nodes: [table([["Label"], ["Likeliest"], ["Probability", "number"]], rows)],
      spoken: `${found.length} labels.`,
    };
  },
};

export const checklist = {
  title: "Seven-point checklist",
  able: ({ can }) => can.checklist,
  about: () => "The seven criteria of dermoscopy, their points, and what is not known about the score.",
  fill: async (look) => {
    const found = await look.ask("/v1/checklist");
    const rows = found.criteria.map(({ name, probability, points, counted }) => element("tr", {},
      element("th", { scope: "row" }, readable(name)), element("td", { class: "number" }, percent(probability)),
      element("td", { class: "number" }, counted ? points : `0 of ${points}`)));
    const score = `${found.score} of ${found.highest}`;
    const reached = found.suspected ? "reaches" : "stays below";
    rows.push(element("tr", { class: "sum" }, element("th", { scope: "row" }, "Score"),
      element("td", { class: "number" }, `from ${found.threshold}: suspicious`),
      element("td", { class: "number" }, element("strong", {}, score))));
    return {
      nodes: [
        element("p", { class: `verdict ${found.suspected ? "unsure" : "sure"}` },
          element("strong", {}, `Score ${score}. `), `It ${reached} the threshold of ${found.threshold}.`),
        table([["Criterion"], ["Suspicious", "number"], ["Points", "number"]], rows),
        element("p", { class: "soft small" }, "A criterion counts where its suspicious class is the likeliest. With "
          + `all probabilities the score is ${found.expected.toFixed(1)} ± ${found.deviation.toFixed(1)}, and reaches the `
          + `threshold with ${percent(found.suspicion)}; that is not the probability of a melanoma.`),
      ],
      spoken: `Score ${score}, ${reached} the threshold.`,
    };
  },
};

function table(heads, rows) {
  const head = heads.map(([name, kind]) => element("th", { scope: "col", class: kind }, name));
  return element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
}
