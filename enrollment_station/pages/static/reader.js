// The hand reader's page: pictures of the empty sheet go to the station, and what it says of them is shown.

const root = document.getElementById("lecteur");
const words = root.dataset;
const [video, off, open] = ["video", "camera-eteinte", "ouvrir-camera"].map((id) => document.getElementById(id));
const [calibrate, block, check, file] = ["etalonner", "bloc", "controler", "image"].map((id) => document.getElementById(id));
const say = document.getElementById("dire");
const sheet = document.getElementById("feuille");
const BETWEEN_MS = 120; // two pictures of a camera's own rate apart

function shown(ok, content) {
  say.textContent = content.message;
  say.className = `say ${ok && !content.faults?.length ? "good" : "bad"}`;
  sheet.querySelectorAll(".fault").forEach((mark) => mark.remove());
  for (const fault of content.faults ?? []) {
    if (fault.x === null) continue;
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    for (const [name, value] of [["class", "fault"], ["cx", fault.x * 400], ["cy", fault.y * 300], ["r", 34]]) {
      mark.setAttribute(name, value);
    }
    sheet.append(mark);
  }
}

async function send(path, images) {
  say.textContent = words.looking;
  say.className = "say";
  const form = new FormData();
  images.forEach((image) => form.append("image", image, "image"));
  try {
    const answer = await fetch(path, { method: "POST", body: form });
    if (answer.status === 401) location.assign("/");
    shown(answer.ok, await answer.json());
  } catch {
    shown(false, { message: words.unreachable });
  }
}

const settings = () => new URLSearchParams({
  papier: document.getElementById("papier").value,
  hauteur: document.getElementById("hauteur").value.trim(),
  miroir: document.getElementById("miroir").value,
  ecart: document.getElementById("ecart").value.trim(),
});

function picture() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
}

open.addEventListener("click", async () => {
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1600 }, height: { ideal: 1200 } }, audio: false });
    await video.play();
  } catch {
    shown(false, { message: words.noCamera });
    return;
  }
  video.hidden = calibrate.hidden = block.hidden = check.hidden = false;
  off.hidden = open.hidden = true;
});
async function pictures() {
  const images = [];
  while (images.length < Number(words.frames)) {
    images.push(await picture());
    await new Promise((done) => setTimeout(done, BETWEEN_MS));
  }
  return images;
}
calibrate.addEventListener("click", async () => send(`/api/lecteur/etalonnage?${settings()}`, await pictures()));
block.addEventListener("click", async () => send("/api/lecteur/bloc", await pictures()));
check.addEventListener("click", async () => send("/api/lecteur/controle", [await picture()]));
file.addEventListener("change", () => {
  const [image] = file.files;
  if (image) send(`/api/lecteur/etalonnage?${settings()}`, [image]);
  file.value = "";
});
addEventListener("pagehide", () => video.srcObject?.getTracks().forEach((track) => track.stop()));
