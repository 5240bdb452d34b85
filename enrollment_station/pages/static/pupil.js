// The pupil's page, without the hand: code, family's answer, card.

import { post, refreshSaying } from "./asking.js";

const CODE_SHOWN_MS = 20_000; // long enough to copy it, short enough that the next in the queue does not read it

const button = document.getElementById("montrer-code");
const output = document.getElementById("code");
const [show, hide] = [button.textContent, button.dataset.hide];
let timer;

function hideCode() {
  clearTimeout(timer);
  output.textContent = "••••";
  button.textContent = show;
}

button.addEventListener("click", async () => {
  if (button.textContent === hide) {
    hideCode();
    return;
  }
  const { ok, content } = await post("/code");
  output.textContent = ok ? content.code : "—";
  button.textContent = hide;
  timer = setTimeout(hideCode, CODE_SHOWN_MS);
});

/** Sends a form as JSON when it is submitted; its own message says what came of it. */
function sends(form, path, fields) {
  const answer = form.querySelector(".answer");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const submit = form.querySelector("[type=submit]");
    submit.disabled = true;
    answer.textContent = "";
    const given = new FormData(form);
    const { ok, content } = await post(path, Object.fromEntries(fields.map((name) => [name, given.get(name)])));
    submit.disabled = false;
    if (ok) {
      refreshSaying(form.dataset.done);
    } else {
      answer.textContent = content.message;
    }
  });
}

const consent = document.getElementById("consentement");
sends(consent, "/consentement", ["state", "given_by", "signed_on", "notice_version"]);
consent.addEventListener("change", () => {
  const state = new FormData(consent).get("state");
  const warning = document.getElementById("effacement");
  warning.hidden = !(warning.dataset.held && (state === "opposed" || state === "withdrawn"));
});

const rest = document.getElementById("repos");
if (rest) {
  sends(rest, "/main/repos", ["jusqu_au"]);
}
const resume = document.getElementById("reprendre-main");
resume?.addEventListener("click", async () => {
  resume.disabled = true;
  const { ok, content } = await post("/main/reprise");
  refreshSaying(ok ? resume.dataset.done : content.message);
});

const typed = document.getElementById("carte");
if (typed) {
  sends(typed, "/carte", ["card"]); // where cards are encoded, no number is typed
}
