/** The pictures of the case: dropped, pasted, chosen or taken; previewed; removed. They live in this page's memory. */
import { element } from "./element.js";

const NAMES = { image: "Photograph", dermoscopy: "Dermoscopic picture" };

/** What people call a picture column. */
export const pictureName = (column) => NAMES[column] ?? column;

/** A slot for each column that the model looks at, inside `place`; `changed` is called whenever a picture changes. */
export class Pictures {
  constructor(place, columns, maxBytes, changed) {
    this.slots = columns.map((column) => new Slot(column, maxBytes, changed));
    place.replaceChildren(...this.slots.map((slot) => slot.whole));
    document.addEventListener("paste", (event) => this.take(event, event.clipboardData));
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => this.take(event, event.dataTransfer));
  }

  /** The slot that still waits for a picture, if there is one. */
  get missing() {
    return this.slots.find((slot) => !slot.file);
  }

  /** A form with the pictures; their files' names, which may tell who the patient is, stay here. */
  form() {
    const form = new FormData();
    for (const slot of this.slots) form.append(slot.column, slot.file, slot.column);
    return form;
  }

  /** Where the page finds the picture of a column. */
  url(column) {
    return this.slots.find((slot) => slot.column === column)?.url;
  }

  /** Files go where they were dropped, then into empty slots. */
  take(event, data) {
    const files = [...(data?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    const here = this.slots.find((slot) => slot.whole.contains(event.target));
    for (const [place, file] of files.slice(0, this.slots.length).entries())
      ((place === 0 && here) || this.missing || this.slots[place]).put(file);
  }
}

class Slot {
  constructor(column, maxBytes, changed) {
    Object.assign(this, { column, maxBytes, changed, file: null, url: null });
    this.preview = element("img", { alt: `Preview: ${pictureName(column).toLowerCase()}`, hidden: true });
    this.preview.addEventListener("error", () => this.url && this.without());
    this.hint = element("p", { class: "hint" }, "Drop a picture here, paste it, or");
    this.said = element("p", { class: "wrong small", role: "alert" });
    this.input = this.chooser({});
    this.remove = element("button", { type: "button", hidden: true, onclick: () => this.clear() }, "Remove");
    this.whole = element("fieldset", { class: "slot empty" },
      element("legend", {}, pictureName(column)),
      this.preview,
      element("div", { class: "zone" }, this.hint,
        element("div", { class: "ways" },
          element("label", { class: "button" }, this.input, element("span", {}, "Choose a file")),
          element("label", { class: "button camera" }, this.chooser({ capture: "environment" }),
            element("span", {}, "Take a photo")),
          this.remove)),
      this.said);
    for (const [event, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]])
      this.whole.addEventListener(event, () => this.whole.classList.toggle("over", over));
  }

  chooser(facts) {
    const took = (event) => {
      const [file] = event.target.files;
      event.target.value = "";
      if (file) this.put(file);
    };
    return element("input", { type: "file", accept: "image/*", class: "unseen", onchange: took, ...facts });
  }

  put(file) {
    this.forget();
    if (file.size > this.maxBytes) {
      const most = Math.floor(this.maxBytes / 1e6);
      this.said.textContent = `This file is too large: the server takes at most ${most} MB.`;
    } else {
      this.file = file;
      this.url = URL.createObjectURL(file);
      this.preview.src = this.url;
    }
    this.show();
  }

  clear() {
    this.forget();
    this.show();
    this.input.focus();
  }

  forget() {
    if (this.url) URL.revokeObjectURL(this.url);
    this.file = this.url = null;
    this.preview.removeAttribute("src");
    this.said.textContent = "";
  }

  show() {
    this.preview.hidden = this.remove.hidden = !this.file;
    this.hint.hidden = Boolean(this.file);
    this.whole.classList.toggle("empty", !this.file);
    this.changed();
  }

  without() {
    this.preview.hidden = true;
    this.said.textContent = "This browser cannot show the file. The server may still be able to read it.";
  }
}
