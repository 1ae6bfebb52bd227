/** Where the picture resembles a phrase, or where the model looked: overlays beside the original. */
import { capital, element } from "./element.js";
import { pictureName } from "./pictures.js";

export const maps = {
  title: "Where in the picture",
  able: ({ can }) => can.explain.length > 0,
  about: ({ can }) => capital([can.explain.includes("similarity") && "where the picture resembles a phrase",
    can.explain.includes("rollout") && "where the model looked"].filter(Boolean).join(", and ")) + ".",
  fill: async (look) => {
    const kinds = look.model.can.explain;
    const phrase = kinds.includes("similarity") ? await look.likeliest() : "";
    const found = phrase || kinds.includes("rollout") ? await figures(look, phrase) : [];
    const shown = element("div", { class: "maps" }, ...found);
    const nodes = [slider(shown), shown];
    if (kinds.includes("similarity")) nodes.unshift(asking(look, phrase, shown));
    return { nodes, spoken: phrase ? `Shown for ${phrase}.` : "Shown." };
  },
};

/** Strength of all overlays inside `shown`, those to come too. */
function slider(shown) {
  const range = element("input", { type: "range", id: "strength", min: 0, max: 100, value: 100 });
  const set = () => shown.style.setProperty("--strength", range.value / 100);
  range.addEventListener("input", set);
  set();
  return element("p", { class: "strength" }, element("label", { for: "strength" }, "Strength of the overlay"), range);
}

function asking(look, phrase, shown) {
  const input = element("input", { id: "phrase", value: phrase, maxlength: 200, list: "phrases", autocomplete: "off" });
  const said = element("p", { class: "small", role: "status" });
  let running = new AbortController();
  const submit = async (event) => {
    event.preventDefault();
    running.abort();
    const { signal } = running = new AbortController();
    said.textContent = "Looking…";
    try {
      shown.replaceChildren(...await figures(look, input.value.trim(), AbortSignal.any([signal, look.signal])));
      said.textContent = "";
    } catch (error) {
      if (error.name !== "AbortError") said.textContent = error.message;
    }
  };
  const rollout = look.model.can.explain.includes("rollout");
  return element("form", { class: "asking", onsubmit: submit },
    element("label", { for: "phrase" }, "Where does it resemble …", rollout
      ? element("span", { class: "soft small" }, " (empty: where the model looked)") : null),
    element("div", { class: "line" }, input, element("button", {}, "Show")),
    element("datalist", { id: "phrases" }, ...look.known.map((value) => element("option", { value }))), said);
}

async function figures(look, phrase, signal = look.signal) {
  const more = phrase ? { texts: [phrase], kind: "similarity" } : { kind: "rollout" };
  const found = (await look.ask("/v1/explain", more, signal)).maps;
  return found.map((map) => figure(map, look.pictures.url(map.column)));
}

const signed = (number) => number.toFixed(2).replace("-", "−");

function figure({ column, kind, about, low, high, box, overlay }, original) {
  const name = pictureName(column);
  const meant = kind === "similarity" ? `where it resembles “${about}”` : "where the model looked";
  const numbers = kind === "similarity" ? ` (cosines from ${signed(low)} to ${signed(high)})` : "";
  const cut = box[0] > 0.001 || box[1] > 0.001 || box[2] < 0.999 || box[3] < 0.999;
  const below = () => element("img", { src: original, alt: `${name}, as it was given` });
  return element("div", { class: "beside" },
    element("figure", {},
      element("div", { class: "stack" }, below(), cut ? frame(box) : null),
      element("figcaption", {}, name, cut ? "; the model sees what is inside the frame" : "")),
    element("figure", {},
      element("div", { class: "stack" }, element("img", { src: original, alt: "" }),
        element("img", { src: overlay, alt: `${name}: ${meant}`, class: "overlay" })),
      element("figcaption", {}, element("span", { class: "scale", "aria-hidden": "true" }),
        `${capital(meant)}: from violet, least, to yellow, most${numbers}`)));
}

function frame([left, top, right, bottom]) {
  const made = element("div", { class: "frame" });
  Object.assign(made.style, { left: `${100 * left}%`, top: `${100 * top}%`, right: `${100 - 100 * right}%`,
    bottom: `${100 - 100 * bottom}%` });
  return made;
}
