// The list follows what is typed, without a page of its own for every letter.

const TYPING_PAUSE_MS = 180;
const form = document.getElementById("recherche");
let timer;
let latest = 0;

async function refresh() {
  const asked = ++latest;
  const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
  const address = query.size ? `/?${query}` : "/";
  try {
    const answer = await fetch(address);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const found = page.getElementById("resultat");
    if (asked === latest && found) {
      document.getElementById("resultat").replaceChildren(...found.childNodes);
      query.delete("q"); // a child's name has no place in the browser's history
      history.replaceState(null, "", query.size ? `/?${query}` : "/");
    }
  } catch {
    form.submit(); // the browser's own page says that nobody answers
  }
}

for (const hidden of document.querySelectorAll("[data-script-hides]")) {
  hidden.hidden = true;
}
form.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(refresh, TYPING_PAUSE_MS);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  refresh();
});
