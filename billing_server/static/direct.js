"use strict";
// Asks three times a second whether the ledger has changed, and replaces the moving part if so.
// A hidden tab does not ask; what a reader has opened stays open.
(() => {
  const place = document.getElementById("direct");
  const announcement = document.getElementById("annonce");
  const lost = document.getElementById("perdu");
  const EVERY_MS = 300;
  const LOST_AFTER = 8;
  let misses = 0;

  const keys = () => new Set([...place.querySelectorAll("tr[data-key]")].map((row) => row.dataset.key));

  const show = (html) => {
    const before = keys();
    const open = [...place.querySelectorAll("details[open]")].map((details) => details.id);
    place.innerHTML = html;
    open.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
    const fresh = [...place.querySelectorAll("tr[data-key]")].filter((row) => !before.has(row.dataset.key));
    fresh.forEach((row) => row.classList.add("fresh"));
    if (fresh.length > 0) {
      announcement.textContent = [...fresh[0].cells].map((cell) => cell.textContent.trim()).filter(Boolean).join(", ");
    }
  };

  const ask = async () => {
    if (!document.hidden) {
      try {
        const mark = place.querySelector("[data-mark]").dataset.mark;
        const answer = await fetch(place.dataset.source + (place.dataset.source.includes("?") ? "&" : "?") + "vu=" + encodeURIComponent(mark), { cache: "no-store" });
        if (answer.status === 200) {
          show(await answer.text());
        } else if (answer.status !== 204) {
          throw new Error(String(answer.status));
        }
        misses = 0;
      } catch {
        misses += 1;
      }
      lost.textContent = misses >= LOST_AFTER ? place.dataset.lost : "";
      lost.hidden = misses < LOST_AFTER;
    }
    setTimeout(ask, EVERY_MS);
  };
  setTimeout(ask, EVERY_MS);
})();
