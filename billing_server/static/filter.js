"use strict";
// Shows the rows that hold what is typed, accents and case aside.
(() => {
  const field = document.getElementById("filtre");
  const plain = (text) => text.normalize("NFD").replace(/[\u0300-\u036f]/g, "").toLowerCase();
  const rows = [...document.querySelectorAll("#liste tbody tr")].map((row) => [row, plain(row.textContent)]);
  field.addEventListener("input", () => {
    const wanted = plain(field.value.trim());
    rows.forEach(([row, text]) => { row.hidden = !text.includes(wanted); });
  });
})();
