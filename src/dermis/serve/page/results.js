/** The parts of a result: each loads on its own, shows its progress, and its error in its own place. */
import { ask } from "./api.js";
import { diagnoses } from "./diagnoses.js";
import { element } from "./element.js";
import { checklist, concepts, labels } from "./findings.js";
import { maps } from "./maps.js";
import { complaint, similar } from "./similar.js";
import { names } from "./words.js";

const PARTS = [diagnoses, checklist, labels, maps, concepts, similar, complaint];
const byId = (id) => document.getElementById(id);

/** What people will see of this model, before they have given a picture. */
export function outlook(model) {
  const list = PARTS.filter((part) => part.able(model)).flatMap((part) => [
    element("dt", {}, part.title), element("dd", { class: "soft" }, part.about(model))]);
  byId("progress").hidden = true;
  byId("spoken").replaceChildren();
  byId("results").replaceChildren(element("div", { class: "card outlook" },
    element("p", {}, "Give the case a picture, then look at it. This model can show:"), element("dl", {}, ...list)));
}

/** Look at the case with everything that the model can do; `signal` stops it all. */
export function lookAt(model, pictures, signal) {
  const look = new Look(model, pictures, signal);
  const parts = PARTS.filter((part) => part.able(model));
  let ready = 0;
  const progress = byId("progress");
  const count = () => {
    progress.hidden = ready === parts.length;
    progress.textContent = `Looking at the case: ${ready} of ${parts.length} parts are ready.`;
  };
  byId("spoken").replaceChildren(element("p", {}, "Looking at the case."));
  byId("results").replaceChildren(...parts.map((part) => section(part, look, () => (ready++, count()))));
  count();
}

function section(part, look, done) {
  const id = `part-${PARTS.indexOf(part)}`;
  const waiting = element("p", { class: "waiting" }, "Looking…");
  const body = element("div", { class: "body" }, waiting);
  const whole = element("section", { class: "card part", "aria-labelledby": id, "aria-busy": "true" },
    element("h3", { id }, part.title), body);
  const end = (nodes, spoken) => {
    body.replaceChildren(...nodes);
    whole.removeAttribute("aria-busy");
    byId("spoken").append(element("p", {}, `${part.title}: ${spoken}`));
    done();
  };
  part.fill(look.saying((sentence) => (waiting.textContent = sentence))).then(
    ({ nodes, spoken }) => end(nodes, spoken),
    (error) => {
      if (look.signal.aborted) return;
      end([element("p", { class: "wrong" }, error.message)], error.message);
    });
  return whole;
}

/** One look at one case: what the parts share. */
class Look {
  constructor(model, pictures, signal, waiting = () => {}) {
    Object.assign(this, { model, pictures, signal, waiting, names: names(), asked: {} });
  }

  /** Names that a map may be asked for. */
  get known() {
    return this.model.classes ?? this.names;
  }

  /** What `/v1/classify` says, asked for once. */
  classified() {
    const { names } = this;
    return (this.asked.classified ??= this.ask("/v1/classify", this.model.can.decide ? {} : { names }));
  }

  /** The name of the likeliest diagnosis; empty if there is none. */
  likeliest() {
    return this.classified().then(({ probabilities: [first] }) => first.name, () => "");
  }

  /** The same look, for a part that says itself why it waits. */
  saying(waiting) {
    return Object.assign(Object.create(this), { waiting });
  }

  /** POST the pictures and `more` (name -> value, or several values). */
  ask(path, more = {}, signal = this.signal) {
    const form = this.pictures.form();
    for (const [name, value] of Object.entries(more)) for (const one of [value].flat()) form.append(name, one);
    return ask(path, { form, signal, waiting: this.waiting });
  }
}
