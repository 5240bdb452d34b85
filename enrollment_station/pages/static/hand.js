// Three placements of a hand, from the camera or from files. Pictures live in this page's memory alone.

import { post, refreshSaying } from "./asking.js";

const JPEG_QUALITY = 0.92;
const root = document.getElementById("main");

if (root) {
  const words = root.dataset;
  const say = document.getElementById("dire");
  const save = document.getElementById("enregistrer-main");
  const video = document.getElementById("video");
  const off = document.getElementById("camera-eteinte");
  const open = document.getElementById("ouvrir-camera");
  const take = document.getElementById("prendre");
  const close = document.getElementById("fermer-camera");
  const placements = [...root.querySelectorAll(".placement")].map((item) => ({ item, picture: null, good: false }));
  let stream = null;

  function tell(sentence, mood) {
    say.textContent = sentence;
    say.className = `say ${mood}`;
  }

  /** Shows `place` (x and y in 0..1) on the drawn hand: fingers up, thumb to the left. */
  function point(place) {
    const drawn = document.getElementById("main-dessinee");
    drawn.toggleAttribute("hidden", !place);
    if (place) {
      const circle = drawn.querySelector("circle");
      circle.setAttribute("cx", place[0] * 200);
      circle.setAttribute("cy", place[1] * 200);
    }
  }

  function mark(placement, mood, sentence) {
    placement.item.classList.remove("good", "bad", "looking");
    placement.item.classList.add(mood);
    placement.good = mood === "good";
    placement.item.querySelector(".judged").textContent = sentence;
    const next = placements.find((other) => !other.good);
    for (const other of placements) {
      other.item.classList.toggle("next", other === next);
    }
    save.disabled = Boolean(next);
    take.hidden = !stream || !next;
    if (next) {
      take.textContent = words.take.replace("{n}", next.item.dataset.number);
    }
  }

  /** Which fingers are not compared, as the station reads it. */
  function leftOut() {
    const fingers = [...root.querySelectorAll("#doigts input:checked")].map((box) => box.value);
    return fingers.length ? `?doigts=${fingers.join(",")}` : "";
  }

  /** The same, and until when. */
  function terms() {
    const query = new URLSearchParams(leftOut());
    const until = document.getElementById("jusqu_au").value;
    if (until) query.set("jusqu_au", until);
    return query.size ? `?${query}` : "";
  }

  async function preview(placement) {
    const canvas = placement.item.querySelector("canvas");
    try {
      const image = await createImageBitmap(placement.picture);
      const scale = Math.min(canvas.width / image.width, canvas.height / image.height);
      const [width, height] = [image.width * scale, image.height * scale];
      const context = canvas.getContext("2d");
      context.clearRect(0, 0, canvas.width, canvas.height);
      context.drawImage(image, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
      image.close();
    } catch {
      // Not a picture: the station says so in words.
    }
  }

  async function judge(placement, picture) {
    if (picture.size > Number(words.bytes)) {
      mark(placement, "bad", words.tooLarge);
      tell(words.tooLarge, "bad");
      return;
    }
    placement.picture = picture;
    mark(placement, "looking", words.looking);
    await preview(placement);
    const form = new FormData();
    form.append("placement", picture, "placement");
    const asked = leftOut();
    const { ok, content } = await post(`/main/essai${asked}`, form);
    if (placement.picture !== picture || asked !== leftOut()) {
      return; // another one was chosen meanwhile, or other fingers
    }
    const good = ok && content.acquired;
    point(content.place);
    mark(placement, good ? "good" : "bad", content.message);
    if (!good) {
      tell(content.message, "bad");
    } else if (save.disabled) {
      tell(`${content.message} ${words.next}`, "good");
    } else {
      tell(words.ready, "good");
      save.focus();
    }
  }

  for (const placement of placements) {
    placement.item.querySelector("input[type=file]").addEventListener("change", (event) => {
      const [file] = event.target.files;
      if (file) {
        judge(placement, file);
      }
      event.target.value = "";
    });
  }
  placements[0].item.classList.add("next");

  // A picture that was refused for a finger that counts may do without it, and the other way round.
  document.getElementById("doigts").addEventListener("change", () => {
    for (const placement of placements) {
      if (placement.picture) {
        judge(placement, placement.picture);
      }
    }
  });

  open.addEventListener("click", async () => {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1600 }, height: { ideal: 1200 } }, audio: false });
    } catch {
      tell(words.noCamera, "bad");
      return;
    }
    video.srcObject = stream;
    await video.play();
    video.hidden = close.hidden = false;
    off.hidden = open.hidden = true;
    take.hidden = placements.every((placement) => placement.good);
    take.focus();
  });

  function closeCamera() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    video.srcObject = null;
    video.hidden = take.hidden = close.hidden = true;
    off.hidden = open.hidden = false;
  }
  close.addEventListener("click", closeCamera);
  addEventListener("pagehide", closeCamera);

  take.addEventListener("click", () => {
    const placement = placements.find((other) => !other.good);
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => judge(placement, blob), "image/jpeg", JPEG_QUALITY);
  });

  save.addEventListener("click", async () => {
    save.disabled = true;
    tell(words.looking, "");
    const form = new FormData();
    for (const placement of placements) {
      form.append("placement", placement.picture, "placement");
    }
    const { ok, content } = await post(`/main${terms()}`, form);
    if (ok && content.enrolled) {
      closeCamera();
      refreshSaying(words.done);
      return;
    }
    tell(content.message, "bad");
    const again = content.placement ? [placements[content.placement - 1]] : content.reason ? placements : [];
    for (const placement of again) {
      mark(placement, "bad", content.message);
    }
    save.disabled = placements.some((placement) => !placement.good);
  });
}
