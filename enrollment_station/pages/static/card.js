// A card at the reader: one request does the work, small ones beside it ask where it is.

import { address, post, refreshSaying } from "./asking.js";

const LOOK_EVERY_MS = 200; // a step on a card takes 50 to 300 ms
const root = document.getElementById("lecteur");

if (root) {
  const words = root.dataset;
  const place = document.getElementById("au-lecteur");
  const say = document.getElementById("dire-carte");
  const again = document.getElementById("reprendre");
  const cancel = document.getElementById("annuler-carte");
  const acts = [...root.querySelectorAll("[data-act]")];
  const list = document.getElementById("etapes-carte");
  const marks = new Map([...list.children].map((mark) => [mark.dataset.step, mark]));

  function tell(sentence, mood) {
    say.textContent = sentence;
    say.className = `say ${mood}`;
  }

  /** Mark the steps: these are done, that one is under way or stopped. */
  function show(done, at, mood) {
    for (const [step, mark] of marks) {
      mark.classList.toggle("done", done.includes(step));
      mark.classList.toggle("now", step === at && mood === "now");
      mark.classList.toggle("stopped", step === at && mood === "stopped");
      if (step === at) {
        mark.setAttribute("aria-current", "step");
      } else {
        mark.removeAttribute("aria-current");
      }
    }
  }

  async function follow(steps, isOver) {
    while (!isOver()) {
      await new Promise((resume) => setTimeout(resume, LOOK_EVERY_MS));
      try {
        const { running, step } = await (await fetch(`${address}/carte/etape`)).json();
        const index = steps.indexOf(step);
        if (running && index >= 0 && !isOver()) {
          show(steps.slice(0, index), step, "now");
          tell(index === 0 ? words.waiting : words.working, "");
          cancel.hidden = index !== 0;
        }
      } catch {
        // The work's own answer says what is wrong.
      }
    }
  }

  async function work(button) {
    const { act, sure } = button.dataset;
    const steps = button.dataset.steps.split(" ");
    if (sure && !confirm(sure)) {
      return;
    }
    for (const other of acts) {
      other.disabled = true;
    }
    place.hidden = list.hidden = cancel.hidden = false;
    cancel.focus();
    again.hidden = true;
    for (const [step, mark] of marks) {
      mark.hidden = !steps.includes(step);
    }
    show([], steps[0], "now");
    tell(words.waiting, "");
    let over = false;
    follow(steps, () => over);
    const { ok, content } = await post(`/carte/${act}`, { reuse: "reuse" in button.dataset });
    over = true;
    cancel.hidden = true;
    for (const other of acts) {
      other.disabled = false;
    }
    if (ok && (content.issued || content.wiped)) {
      refreshSaying(content.message);
      return;
    }
    show(content.done ?? [], content.step, "stopped");
    list.hidden = !content.done?.length && !content.step; // it never came to a card
    const mood = ok && content.good !== false ? "good" : "bad";
    tell(content.message, content.error === "cancelled" ? "" : mood);
    const takesOver = "reuse" in button.dataset;
    again.hidden = !content.may_reuse && !takesOver;
    // Never on the button that takes another pupil's card: one Enter too many would do it.
    (takesOver && content.error !== "card-stopped" ? acts[0] : button).focus();
  }

  for (const button of acts) {
    button.addEventListener("click", () => work(button));
  }
  cancel.addEventListener("click", () => post("/carte/annuler"));
}
