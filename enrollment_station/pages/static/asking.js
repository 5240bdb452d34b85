// How the pages' scripts speak to the station, and how they say what came of it.

const page = document.getElementById("eleve");
export const address = `/api/eleves/${page.dataset.pupil}`;

/** POST `body` (a form, or an object sent as JSON); answers `{ok, content}` and never throws. */
export async function post(path, body) {
  const isForm = body instanceof FormData;
  try {
    const answer = await fetch(address + path, {
      method: "POST",
      headers: isForm ? {} : { "Content-Type": "application/json" },
      body: isForm ? body : JSON.stringify(body ?? {}),
    });
    if (answer.status === 401) {
      location.assign("/"); // the page there says how to come in again
    }
    const content = await answer.json();
    return { ok: answer.ok, content: { ...content, message: content.message ?? page.dataset.unreachable } };
  } catch {
    return { ok: false, content: { message: page.dataset.unreachable } };
  }
}

/** Show the page afresh, with `sentence` on top of it. */
export function refreshSaying(sentence) {
  sessionStorage.setItem("flash", sentence);
  location.reload();
}

const said = sessionStorage.getItem("flash");
if (said) {
  const flash = document.getElementById("flash");
  sessionStorage.removeItem("flash");
  flash.hidden = false;
  flash.textContent = said;
}
