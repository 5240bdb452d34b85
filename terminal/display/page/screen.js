// Renders the snapshots that the terminal pushes. Decides nothing, keeps nothing.
"use strict";

const SILENT_MS = 12000; // the terminal beats every 5 s
const LONG_CHARS = 22;
const SPOKEN = {
  fr: { typed: (n, of) => `${n} chiffres sur ${of}`, tries: "Essais", until: "jusqu’à", waiting: (n) => ` · ${n} en attente`, took: (s) => `${s} s` },
  en: { typed: (n, of) => `${n} digits of ${of}`, tries: "Tries", until: "until", waiting: (n) => ` · ${n} waiting`, took: (s) => `${s} s` },
};
const LOST = {
  state: "out-of-service", tone: "fault", pictogram: "adult", language: document.documentElement.lang,
  message: { fr: "Je ne marche pas", en: "I am out of order" },
  prompt: { fr: "Demande à un adulte\u00a0: tu vas manger", en: "Ask an adult: you will get your meal" },
  code_length: 4, digits_typed: 0, tries_left: 0, network: { connected: false, text: { fr: "", en: "" } },
  backlog: 0, school: "", staff_note: "display:cut-off",
};
// Beside the simulated world of a demonstration, the visitor's language may be asked for.
const ASKED = new URLSearchParams(location.search).get("lang");
const $ = (id) => document.getElementById(id);
let moment = "";
let heardAt = performance.now();

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function marks(element, total, full, name) {
  element.replaceChildren(...Array.from({ length: total }, (_, at) => {
    const mark = document.createElement("i");
    if (at < full) mark.className = name;
    return mark;
  }));
}

function render(view) {
  const language = (ASKED || view.language) === "en" ? "en" : "fr";
  const other = language === "fr" ? "en" : "fr";
  const words = SPOKEN[language];
  const body = document.body;
  document.documentElement.lang = language;
  Object.assign(body.dataset, { tone: view.tone, state: view.state, pictogram: view.pictogram });
  $("pictogram").setAttribute("href", `#p-${view.pictogram}`);
  const place = $("place"); // on the drawn hand: fingers up, thumb to the left
  const pointed = view.place && view.pictogram === "hand";
  place.setAttribute("visibility", pointed ? "visible" : "hidden");
  if (pointed) {
    place.setAttribute("cx", view.place[0] * 200);
    place.setAttribute("cy", view.place[1] * 200);
  }
  say($("message"), view.message[language]);
  $("message").classList.toggle("long", view.message[language].length > LONG_CHARS);
  say($("prompt"), view.prompt[language]);
  $("other").lang = other;
  say($("other"), `${view.message[other]} – ${view.prompt[other]}`);

  const digits = $("digits");
  if (view.state === "typing-code") {
    if (digits.children.length !== view.code_length) marks(digits, view.code_length, 0, "typed");
    [...digits.children].forEach((mark, at) => mark.classList.toggle("typed", at < view.digits_typed));
    digits.setAttribute("aria-label", words.typed(view.digits_typed, view.code_length));
  }
  if (view.tries_left > 0 && view.tries_left < 3) {
    marks($("tries"), 3, view.tries_left, "left");
    $("tries").prepend(words.tries);
  } else {
    $("tries").replaceChildren();
  }

  // The bar starts anew when the moment changes, not when the foot line does.
  const now = [view.state, view.digits_typed, view.tries_left, view.reason, view.first_name].join("|");
  if (now !== moment) {
    moment = now;
    const bar = $("remaining");
    bar.classList.remove("runs");
    if (view.shows_for_s && view.state !== "out-of-service") {
      void bar.offsetWidth;
      bar.style.animationDuration = `${view.shows_for_s}s`;
      bar.classList.add("runs");
    }
  }

  say($("school"), view.school || "");
  say($("service"), view.serving_period
    ? `${view.serving_period}${view.serving_until ? ` ${words.until} ${view.serving_until}` : ""}` : "");
  say($("note"), view.staff_note || [view.tampered ? "tamper" : "", ...(view.ill || [])].filter(Boolean).join(" "));
  say($("took"), view.took_ms == null ? "" :
    words.took((view.took_ms / 1000).toLocaleString(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 })));
  $("network").dataset.connected = String(view.network.connected);
  say($("line"), view.network.text[language] + (view.backlog > 0 ? words.waiting(view.backlog) : ""));
}

const events = new EventSource("/events");
events.onmessage = (event) => {
  heardAt = performance.now();
  const view = JSON.parse(event.data);
  if (view.state) render(view);
};
events.addEventListener("beat", () => { heardAt = performance.now(); });
events.onerror = () => { heardAt = Math.min(heardAt, performance.now() - SILENT_MS + 1500); };
setInterval(() => {
  if (performance.now() - heardAt > SILENT_MS) render(LOST);
}, 500);
