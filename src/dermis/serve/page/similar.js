/** Similar cases of the server's collection, and the text that the model writes about this one. */
import { fetchPicture } from "./api.js";
import { element, readable } from "./element.js";
import { pictureName } from "./pictures.js";
import { dialogue, sentence } from "./words.js";

export const similar = {
  title: "Similar cases",
  able: ({ can }) => can.search,
  about: (model) => `The nearest of ${model.searched_cases.toLocaleString("en")} cases`
    + `${model.can.search_text ? ", by the picture and what else is known" : ""}.`,
  fill: async (look) => {
    const text = look.model.can.search_text ? sentence() : "";
    const { hits } = await look.ask("/v1/search", { k: 10, ...(text && { text }) });
    const words = text && ` and by “${text.replace(/\.$/, "")}”`;
    const searched = `${look.model.searched_cases.toLocaleString("en")} cases were searched by the picture`;
    return {
      nodes: [
        element("ol", { class: "hits" }, ...hits.map((hit) => shown(hit, look.signal))),
        element("p", { class: "soft small" }, `${searched}${words || " alone"}.`),
      ],
      spoken: `${hits.length} cases found.`,
    };
  },
};

function shown({ case_id: id, cosine, columns, thumbnails }, signal) {
  const { diagnosis, ...others } = columns;
  const facts = Object.entries(others).filter(([, value]) => value != null);
  return element("li", {},
    ...Object.entries(thumbnails).map(([column, path]) =>
      thumbnail(path, `${pictureName(column)} of case ${id}`, signal)),
    element("strong", {}, diagnosis ?? "no diagnosis"),
    element("span", {}, `similarity ${cosine.toFixed(2)}`),
    ...facts.map(([name, value]) => element("span", { class: "soft small" }, `${readable(name)}: ${value}`)),
    element("span", { class: "soft small" }, id));
}

/** Fetched, not linked to: only so can the request bear the token. */
function thumbnail(path, alt, signal) {
  const img = element("img", { alt });
  fetchPicture(path, signal).then((blob) => {
    const url = URL.createObjectURL(blob);
    for (const end of ["load", "error"]) img.addEventListener(end, () => URL.revokeObjectURL(url), { once: true });
    img.src = url;
  }, () => img.replaceWith(element("span", { class: "soft small" }, "picture not available")));
  return img;
}

export const complaint = {
  title: "Generated text",
  able: ({ can }) => can.generate,
  about: ({ can }) => `A chief complaint, written from the picture${can.dialogue ? " and what else is known" : ""}.`,
  fill: async (look) => {
    const said = look.model.can.dialogue ? dialogue() : "";
    const { text } = await look.ask("/v1/generate", said && { dialogue: said });
    return {
      nodes: [
        element("blockquote", {}, text || "The model wrote nothing."),
        element("p", { class: "soft small" }, "Written by the model from the picture"
          + `${said ? " and what you typed" : " alone"}. Nobody has checked it; it may be wrong in every word.`),
      ],
      spoken: text,
    };
  },
};
