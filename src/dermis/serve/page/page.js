/** The page: finds out what the server's model can do, takes a case, and looks at it. Nothing is stored. */
import { ask, useToken } from "./api.js";
import { Pictures, pictureName } from "./pictures.js";
import { lookAt, outlook } from "./results.js";
import { names, offerWords } from "./words.js";

const byId = (id) => document.getElementById(id);
const show = (id, shown = true) => (byId(id).hidden = !shown);

/** Ask what the model is; where that needs a token, ask people for it. */
async function start() {
  show("problem", false);
  try {
    open(await ask("/v1/model"));
  } catch (error) {
    show("door", error.status === 401);
    if (error.status === 401) byId("token").focus();
    else tell(error.message);
  }
}

function tell(sentence) {
  byId("problem").textContent = sentence;
  show("problem");
}

async function unlock(event) {
  event.preventDefault();
  useToken(byId("token").value.trim());
  byId("token").value = byId("door-said").textContent = "";
  await start();
  if (!byId("door").hidden) byId("door-said").textContent = "The server does not know this token.";
  else byId("case-title").focus();
}

function open(model) {
  document.title = `${model.name} · dermis`;
  byId("model-name").textContent = model.name;
  byId("model-notice").textContent = model.notice;
  byId("version").textContent = model.version;
  byId("card-text").textContent = model.card;
  show("open-card", Boolean(model.card));
  show("door", false);
  show("desk");
  offerWords(model);
  outlook(model);

  let looking = new AbortController();
  const pictures = new Pictures(byId("pictures"), model.pictures, model.limits.max_bytes, () => {
    looking.abort();
    byId("case-said").textContent = "";
    outlook(model);
  });
  byId("case").addEventListener("submit", (event) => {
    event.preventDefault();
    const missing = lacking(pictures);
    byId("case-said").textContent = missing;
    if (missing) return;
    looking.abort();
    looking = new AbortController();
    lookAt(model, pictures, looking.signal);
    byId("results-title").focus();
    if (matchMedia("(max-width: 58rem)").matches) byId("results-title").scrollIntoView();
  });
}

/** What the case still lacks, as a sentence; empty if nothing. */
function lacking(pictures) {
  if (pictures.missing) {
    pictures.missing.input.focus();
    return `A picture is missing: ${pictureName(pictures.missing.column).toLowerCase()}.`;
  }
  if (byId("names").hidden || names().length) return "";
  byId("names-list").focus();
  return "Give at least one name to compare.";
}

byId("door-form").addEventListener("submit", unlock);
byId("open-card").addEventListener("click", () => byId("card").showModal());
byId("close-card").addEventListener("click", () => byId("card").close());
start();
