// Plays one live stream. While it is offline the playlist is asked for every few seconds, so that the picture comes by
// itself when the streamer does. No request goes to the app: the proxy serves playlists and segments from memory.
"use strict";

const RETRY_MS = 3000;
const player = document.querySelector(".player");
const video = player.querySelector("video");
const notice = player.querySelector(".notice");
const quality = document.querySelector(".quality");
const latency = document.querySelector(".latency");
const playlist = player.dataset.playlist;
let hls = null;

function show(state, text) {
  player.dataset.state = state;
  if (notice.textContent !== text) notice.textContent = text;
}

function offline() {
  if (hls) hls.destroy();
  hls = null;
  quality.disabled = true;
  latency.textContent = "";
  show("offline", "Offline. This page starts playing when the stream does.");
  setTimeout(wait, RETRY_MS);
}

async function wait() {
  try {
    const answer = await fetch(playlist, { cache: "no-store" });
    if (answer.ok && !(await ended(await answer.text()))) return play();
  } catch {
    // No network is offline, too.
  }
  offline();
}

// A stream that has just ended leaves its last segments behind for those who watch; nobody starts to watch them.
async function ended(master) {
  const variant = master.split("\n").find((line) => line && !line.startsWith("#"));
  const answer = variant && (await fetch(new URL(variant, new URL(playlist, location.href)), { cache: "no-store" }));
  return !answer || !answer.ok || (await answer.text()).includes("#EXT-X-ENDLIST");
}

function play() {
  show("connecting", "Connecting");
  if (!Hls.isSupported()) {
    video.src = playlist; // Safari on iPhone plays HLS by itself
    video.onplaying = () => show("live", "");
    video.onerror = video.onended = offline;
    video.play();
    return;
  }
  hls = new Hls({ liveSyncDurationCount: 2, liveMaxLatencyDurationCount: 6, backBufferLength: 30 });
  hls.on(Hls.Events.MANIFEST_PARSED, listQualities);
  hls.on(Hls.Events.ERROR, (_event, data) => data.fatal && offline());
  hls.on(Hls.Events.LEVEL_LOADED, (_event, data) => {
    if (!data.details.live) video.onended = offline;
  });
  hls.loadSource(playlist);
  hls.attachMedia(video);
  video.onplaying = () => show("live", "");
  video.play().catch(() => show("live", "")); // autoplay forbidden: the controls are there
}

function listQualities() {
  quality.replaceChildren(new Option("Automatic", "-1"));
  hls.levels.forEach((level, index) => {
    quality.add(new Option(level.height ? `${level.height}p` : level.name || `Quality ${index + 1}`, String(index)));
  });
  quality.disabled = false;
}

quality.addEventListener("change", () => {
  if (hls) hls.currentLevel = Number(quality.value);
});

setInterval(() => {
  if (hls && Number.isFinite(hls.latency) && player.dataset.state === "live") {
    latency.textContent = `${hls.latency.toFixed(1)} s behind live`;
  }
}, 1000);

wait();
