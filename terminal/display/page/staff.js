// Finds a pupil among those of the terminal and asks the lane to let them through. Keeps nothing.
"use strict";

const CLOSED_AGAIN_MS = 20000; // a pupil who tapped here by mistake is soon back at their own screen
const LEFT_ALONE_MS = 120000; // no list of pupils stays on a screen that nobody touches
const SHOWN_MS = 4000;
const MANY = 40;
const STICK_LOOKS = 120; // a minute: a year's journal on a slow stick
const LANGUAGE = new URLSearchParams(location.search).get("lang") === "en" ? "en" : "fr";
const $ = (id) => document.getElementById(id);
let said = null;
let pupils = [];
let chosenClass = null;
let idle = 0;

const word = (name) => said.words[name][LANGUAGE];
const folded = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

async function ask(path, body) {
  const options = body === undefined ? {} :
    { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(5000) });
  if (answer.status === 401) { location.reload(); throw new Error("closed"); }
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.json();
}

function button(text, pressed, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  if (pressed !== null) made.setAttribute("aria-pressed", String(pressed));
  made.addEventListener("click", act);
  return made;
}

function back() { location.assign("/"); }

function stayAwhile(ms) {
  clearTimeout(idle);
  idle = setTimeout(back, ms);
}

function showOutcome(name, sentence) {
  $("outcome").dataset.outcome = name;
  $("outcome").textContent = sentence;
  $("outcome").hidden = false;
}

function list() {
  const wanted = folded($("search").value.trim());
  const classes = [...new Set(pupils.map((one) => one.class_name))];
  $("classes").replaceChildren(...classes.map((name) => button(name, name === chosenClass, () => {
    chosenClass = chosenClass === name ? null : name;
    list();
  })));
  const found = (wanted || chosenClass) ? pupils.filter((one) =>
    (chosenClass === null || one.class_name === chosenClass) &&
    folded(`${one.first_name} ${one.class_name}`).includes(wanted)).slice(0, MANY) : [];
  $("pupils").replaceChildren(...found.map((one) =>
    button(`${one.first_name} · ${one.class_name}`, null, () => choose(one))));
  if ((wanted || chosenClass) && found.length === 0) $("pupils").textContent = word("nobody");
}

function choose(pupil) {
  $("choose").hidden = true;
  $("reasons").hidden = false;
  $("outcome").hidden = true;
  $("chosen").textContent = `${pupil.first_name} · ${pupil.class_name}`;
  $("because").replaceChildren(...Object.entries(said.reasons).map(([reason, sentence]) =>
    button(sentence[LANGUAGE], null, () => vouch(pupil, reason))));
}

async function vouch(pupil, reason) {
  $("reasons").hidden = true;
  showOutcome("waiting", said.outcomes.waiting[LANGUAGE]);
  let outcome = "waiting";
  try {
    const { number } = await ask("/personnel/passage", { pupil: pupil.pupil, reason });
    while (outcome === "waiting") {
      await new Promise((done) => setTimeout(done, 150));
      ({ outcome } = await ask(`/personnel/passage/${number}`));
    }
    showOutcome(outcome, said.outcomes[outcome][LANGUAGE]);
  } catch {
    showOutcome("unreachable", word("unreachable"));
    return;
  }
  if (outcome === "opened") stayAwhile(SHOWN_MS);
  else open();
}

function showVisit({ waits, visit }) {
  $("stick").disabled = waits;
  $("visit").hidden = !waits && visit === null;
  if (waits) $("visit").textContent = word("stick-waits");
  else if (visit === null) return;
  else if (visit.trouble === "") {
    const at = new Date(visit.at).toLocaleString(LANGUAGE, { dateStyle: "short", timeStyle: "short" });
    $("visit").textContent = ["written", "taken", "refused"].reduce(
      (text, name) => text.replace(`{${name}}`, visit[name]), word("stick-done").replace("{at}", at));
  } else {
    $("visit").textContent = visit.trouble in said.words ? word(visit.trouble) : word("stick-trouble").replace("{why}", visit.trouble);
  }
}

async function exchangeStick() {
  try {
    let answer = await ask("/personnel/cle", {});
    for (let looks = 0; looks < STICK_LOOKS; looks += 1) {
      showVisit(answer);
      if (!answer.waits) return;
      await new Promise((done) => setTimeout(done, 500));
      answer = await ask("/personnel/cle");
    }
  } catch { /* said below */ }
  $("stick").disabled = false;
  $("visit").textContent = word("unreachable");
}

async function open() {
  $("choose").hidden = false;
  try {
    const answer = await ask("/personnel/eleves");
    pupils = answer.pupils;
    if (answer.vouched_today !== null) {
      $("today").textContent = word("today").replace("{count}", answer.vouched_today).replace("{quota}", answer.daily_quota);
      const beyond = answer.vouched_today >= answer.daily_quota;
      $("today").classList.toggle("beyond", beyond);
      if (beyond) $("today").append(` – ${word("beyond")}`);
    }
    $("health").replaceChildren(...answer.health.map((check) => {
      const line = document.createElement("li");
      line.dataset.verdict = check.verdict;
      line.textContent = check.said[LANGUAGE];
      return line;
    }));
    const anew = answer.enroll_anew.map((one) => `${one.first_name} · ${one.class_name}`);
    $("anew").hidden = anew.length === 0;
    $("anew").textContent = `${word("anew")} ${anew.join(", ")}`;
    showVisit(answer.stick);
    list();
    $("search").focus();
  } catch {
    showOutcome("unreachable", word("no-pupils"));
  }
}

async function begin() {
  said = await ask("/personnel/mots");
  document.documentElement.lang = LANGUAGE;
  $("title").textContent = word("title");
  $("who").textContent = said.who || "";
  for (const [id, name] of [["back", "back"], ["closed", "closed"], ["enter", "enter"], ["ask", "pupil"], ["why", "why"], ["stick", "stick"]]) {
    $(id).textContent = word(name);
  }
  $("search").placeholder = word("search");
  if (said.who === null) {
    $("door").hidden = false;
    $("token").focus();
    stayAwhile(CLOSED_AGAIN_MS);
    $("token").addEventListener("input", () => stayAwhile(CLOSED_AGAIN_MS));
    return;
  }
  stayAwhile(LEFT_ALONE_MS);
  for (const touch of ["click", "input"]) document.addEventListener(touch, () => stayAwhile(LEFT_ALONE_MS));
  open();
}

$("search").addEventListener("input", list);
$("stick").addEventListener("click", exchangeStick);
$("back").addEventListener("click", (event) => {
  event.preventDefault();
  if (!$("reasons").hidden) {
    $("reasons").hidden = true;
    open();
  } else if (said === null || said.who === null) back();
  else ask("/personnel/sortir", {}).then(back, back);
});
$("door").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const answer = await fetch("/personnel/entrer", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ jeton: $("token").value }),
    });
    if (answer.ok) location.assign("/personnel");
    else $("token").value = "";
  } catch {
    showOutcome("unreachable", word("unreachable"));
  }
});
begin().catch(() => { stayAwhile(SHOWN_MS); });
