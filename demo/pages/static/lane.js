"use strict";
// The world's side of the lane: everything here becomes a key press, a frame or a contact of a simulated device.
const $ = (id) => document.getElementById(id);
const notice = $("notice");
let noticeTimer = 0;
let turns = 0;

function say(key) {
  notice.textContent = notice.dataset[key];
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { notice.textContent = ""; }, 4000);
}

async function act(path, body) {
  try {
    const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}) });
    if (!answer.ok) { say("failed"); return null; }
    return await answer.json();
  } catch { say("failed"); return null; }
}

async function touch(path, body) {
  const answer = await act(path, body);
  if (answer && answer.accepted === false) say("dead");
}

document.querySelectorAll("[data-key]").forEach((button) => {
  if (button.matches("button")) button.addEventListener("click", () => touch("/api/press", { key: button.dataset.key }));
});
document.querySelectorAll("[data-code]").forEach((b) => b.addEventListener("click", () => touch("/api/code", { person: b.dataset.code })));
document.querySelectorAll("[data-card]").forEach((b) => b.addEventListener("click", () => touch("/api/card", { person: b.dataset.card })));
document.querySelectorAll("[data-lay]").forEach((b) => b.addEventListener("click", () =>
  act("/api/lay", { person: b.dataset.lay, number: Number(b.dataset.number) })));
// A person's images are rendered when somebody looks, not all at once.
document.querySelectorAll("details").forEach((person) => person.addEventListener("toggle", () => {
  if (person.open) person.querySelectorAll("img[data-src]").forEach((image) => { image.src = image.dataset.src; image.removeAttribute("data-src"); });
}));

// What lies on the platen is asked for once a placement, whoever laid it.
let shown = null;
function showLaid(placement) {
  if (placement === shown) return;
  shown = placement;
  if (placement !== null) $("laid").src = `/laid/${placement}`;
  $("laid").hidden = placement === null;
  $("nothing").hidden = placement !== null;
}

$("lift").addEventListener("click", () => act("/api/lift"));
$("photo").addEventListener("change", async (event) => {
  const file = event.target.files[0];
  if (!file) return;
  try {
    const answer = await fetch("/api/photo", { method: "POST", body: file });
    if (!answer.ok) throw new Error(String(answer.status));
  } catch { say("photo"); }
  event.target.value = "";
});
$("push").addEventListener("click", async () => {
  const answer = await act("/api/push");
  if (!answer) return;
  if (!answer.turned) { say("locked"); return; }
  turns += 1;
  document.querySelector(".arms").style.transform = `rotate(${turns * 120}deg)`;
});
$("network").addEventListener("click", async () => {
  const answer = await act("/api/network", { connected: $("network").getAttribute("aria-checked") !== "true" });
  if (answer) network(answer.connected);
});

function network(connected) {
  $("network").setAttribute("aria-checked", String(connected));
  $("network-state").textContent = $("network-state").dataset[connected ? "on" : "off"];
  document.querySelector(".network").classList.toggle("cut", !connected);
}

// The physical keyboard types too, unless it is filling a field or pressing a focused button.
document.addEventListener("keydown", (event) => {
  if (/^[0-9]$/.test(event.key) && !event.ctrlKey && !event.metaKey) touch("/api/press", { key: event.key });
  if (event.key === "Backspace") touch("/api/press", { key: "*" });
});

async function look() {
  try {
    const world = await (await fetch("/api/world")).json();
    $("lamp").className = `lamp ${world.lamp}`;
    $("text").textContent = world.text;
    const unlocked = world.turnstile === "unlocked";
    $("turnstile").classList.toggle("unlocked", unlocked);
    $("turnstile-state").textContent = $("turnstile-state").dataset[unlocked ? "unlocked" : "locked"];
    $("passages").textContent = world.passages;
    showLaid(world.laid);
    network(world.network);
  } catch { /* the demonstration is stopping or starting: look again */ }
  setTimeout(look, 300);
}
look();
