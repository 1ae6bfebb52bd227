/**
 * An element: element("p", { class: "soft" }, "text", other, …). `on…` listens; true is an empty attribute; false, null
 * and undefined are none. Nothing here reads HTML: what a server, a file or a person says stays text.
 */
export function element(tag, facts = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(facts)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

/** 0.62 -> "62 %"; what is neither none nor all never looks like it. */
export function percent(share) {
  const rounded = Math.round(100 * share);
  if (rounded === 0 && share > 0) return "< 1\u00a0%";
  if (rounded === 100 && share < 1) return "> 99\u00a0%";
  return `${rounded}\u00a0%`;
}

/** "a sentence" -> "A sentence" */
export const capital = (words) => words.charAt(0).toUpperCase() + words.slice(1);

/** "finding.blue_whitish_veil" -> "Blue whitish veil"; "brown(pigment)" -> "Brown (pigment)" */
export const readable = (name) => capital(name.replace(/^finding\./, "").replaceAll("_", " ").replace(/\b\(/, " ("));

/** A row of a ranking: name, bar, and the same as text; `more` stands behind the name. */
export function bar(name, share, ...more) {
  const fill = element("div", { class: "fill" });
  fill.style.width = `${100 * share}%`;
  return element("li", { class: "bar" },
    element("span", { class: "name" }, name, ...more),
    element("span", { class: "value" }, percent(share)),
    element("div", { class: "track", "aria-hidden": "true" }, fill));
}

/** The first `count` of `rows` as a list, the others under "more"; `two`: side by side where there is room. */
export function ranking(rows, count, more, two = "") {
  const list = (part) => element("ol", { class: `ranking ${two}` }, ...part);
  if (rows.length <= count) return [list(rows)];
  const summary = element("summary", {}, `${rows.length - count} ${more}`);
  return [list(rows.slice(0, count)), element("details", {}, summary, list(rows.slice(count)))];
}
