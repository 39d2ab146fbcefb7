// Plays one live stream. While it is offline the playlist is asked for every few seconds, so that the picture comes by
// itself when the streamer does. The proxy serves playlists and segments from memory; the app is asked by viewers of
// private streams alone, for the cookie that lets them in.
"use strict";

const RETRY_MS = 3000;
const STALL_MS = 3000; // without a picture or a sound, after which the page says so
const DELAY = 4; // seconds behind live
const RENDITIONS_MS = 20000;
const MISSES = 3; // failures in a row, after which the player begins anew, and then says that it can't
const ACCESS_MS = 5 * 60 * 1000; // the cookie lasts ten minutes
const player = document.querySelector(".player");
const video = player.querySelector("video");
const notice = player.querySelector(".notice");
const soundOnly = player.querySelector(".sound-only");
const startButton = player.querySelector(".start");
const unmute = player.querySelector(".unmute");
// A page of somebody else has the player alone, without these.
const badge = document.querySelector('[data-shows="state"]');
const quality = document.querySelector(".quality");
const latency = document.querySelector(".latency");
const toLive = document.querySelector(".to-live");
const playlist = player.dataset.playlist;
const NAMES = {
  connecting: "Connecting",
  live: "Live",
  offline: "Offline",
  refused: "Private",
  unreachable: "No connection",
  unsupported: "Can't be played here",
  blocked: "Ready",
};
const SAID = {
  offline: "Offline. This page starts playing when the stream does.",
  ended: "The stream has ended. This page plays it again when it comes back.",
  refused: "This stream is private: open the link that you were given, or sign in.",
  unreachable: "No connection to this site: check your network. This page goes on by itself.",
  stalled: "Nothing comes at the moment. This page goes on by itself.",
  noPlayer: "This browser can't play live video (H.264 by HLS or Media Source Extensions): use a current Firefox, Chrome, Edge or Safari.",
  unplayable: "This browser can't play what the stream sends: try another one. This page tries again by itself.",
  blocked: "This browser starts nothing by itself: press Play.",
};
// The fragment of an address is sent to no server; this is the one thing that reads it.
const invitation = new URLSearchParams(location.hash.slice(1)).get("invitation") ?? "";
let hls = null;
let asked = -Infinity;
let wasLive = false;
let failures = 0;
let stall = 0;

function show(state, text) {
  player.dataset.state = state;
  if (badge) badge.textContent = NAMES[state];
  badge?.classList.toggle("live", state === "live");
  video.controls = state === "live";
  startButton.hidden = state !== "blocked";
  if (quality) toLive.disabled = quality.disabled = state !== "live";
  if (notice.textContent !== text) notice.textContent = text;
}

function live() {
  clearTimeout(stall);
  wasLive = true;
  failures = 0;
  show("live", "");
  unmute.hidden = !video.muted;
  showMedia();
}

// A stream without a picture gets a card in its place; one whose picture comes later loses it.
function showMedia() {
  soundOnly.hidden = player.dataset.state !== "live" || video.videoWidth > 0;
}

// Ends what plays, says why, and looks again in a moment.
function pause(state, text) {
  if (hls) hls.destroy();
  hls = null;
  clearTimeout(stall);
  video.onplaying = video.onended = video.onerror = null;
  if (latency) latency.textContent = "";
  unmute.hidden = soundOnly.hidden = true;
  show(state, text);
  setTimeout(wait, RETRY_MS);
}

function offline() {
  pause("offline", wasLive ? SAID.ended : SAID.offline);
}

// The playlist says whether the stream has ended, is private, or can't be reached. One that is there and fails again and
// again is one that this browser can't play.
function failed() {
  if (++failures > MISSES) pause("unsupported", SAID.unplayable);
  else pause("connecting", SAID.stalled);
}

// Asks to be let in to a private stream, unless that was done just now.
async function letIn() {
  if (!player.dataset.access || performance.now() - asked < ACCESS_MS) return;
  const answer = await fetch(player.dataset.access, { method: "POST", body: new URLSearchParams({ invitation }) });
  if (answer.ok) asked = performance.now();
}

async function wait() {
  let found;
  try {
    await letIn();
    const answer = await fetch(playlist, { cache: "no-store" });
    if (answer.status === 401 || answer.status === 403) found = "refused";
    else if (answer.status === 429 || answer.status >= 500) found = "stalled";
    else found = answer.ok && !(await ended(await answer.text())) ? "playing" : "offline";
  } catch {
    found = "unreachable";
  }
  if (found === "playing") play();
  else if (found === "offline") offline();
  else if (found === "stalled") pause("connecting", SAID.stalled);
  else {
    asked = -Infinity;
    pause(found, SAID[found]);
  }
}

// A stream that has just ended leaves its last segments behind for those who watch; nobody starts to watch them.
async function ended(master) {
  const variant = master.split("\n").find((line) => line && !line.startsWith("#"));
  const answer = variant && (await fetch(new URL(variant, new URL(playlist, location.href)), { cache: "no-store" }));
  return !answer || !answer.ok || (await answer.text()).includes("#EXT-X-ENDLIST");
}

function start() {
  video.onplaying = live;
  video.play().catch((error) => {
    if (error.name === "NotAllowedError") show("blocked", SAID.blocked);
  });
}

function play() {
  if (failures <= MISSES) show("connecting", "Connecting");
  video.poster = `${player.dataset.poster}?${Math.floor(Date.now() / 10000)}`;
  if (!Hls.isSupported()) {
    if (!video.canPlayType("application/vnd.apple.mpegurl")) return show("unsupported", SAID.noPlayer);
    video.src = playlist; // Safari on iPhone plays HLS by itself
    video.onended = offline;
    video.onerror = failed; // network, decoder or source (1 to 4): the next look at the playlist tells which
    start();
    return;
  }
  hls = new Hls({ liveSyncDuration: DELAY, liveMaxLatencyDuration: 3 * DELAY, maxLiveSyncPlaybackRate: 1.1, backBufferLength: 30 });
  let misses = 0;
  hls.on(Hls.Events.MANIFEST_PARSED, listQualities);
  hls.on(Hls.Events.LEVEL_SWITCHED, nameQuality);
  hls.on(Hls.Events.ERROR, (_event, data) => recover(data, ++misses));
  hls.on(Hls.Events.FRAG_BUFFERED, () => (misses = 0));
  hls.on(Hls.Events.LEVEL_LOADED, (_event, data) => {
    if (!data.details.live) video.onended = offline;
    keepDistance(data.details.fragments);
  });
  hls.loadSource(playlist);
  hls.attachMedia(video);
  start();
}

// Segments are as long as the encoder's keyframes are apart; closer to live than one and a half of them nothing is there yet.
function keepDistance(fragments) {
  const delay = Math.max(DELAY, 1.5 * Math.max(0, ...fragments.map((fragment) => fragment.duration)));
  hls.config.liveSyncDuration = delay;
  hls.config.liveMaxLatencyDuration = 3 * delay;
}

// Renditions come and go: a source whose keyframes are far apart is there after the others, and a busy host leaves some out.
async function lookForRenditions() {
  if (!hls || player.dataset.state !== "live") return;
  const answer = await fetch(playlist, { cache: "no-store" });
  if (!answer.ok || !hls) return;
  const names = (await answer.text()).split("\n").filter((line) => line && !line.startsWith("#"));
  const known = hls?.levels.map((level) => level.url[0]) ?? [];
  const now = names.map((name) => new URL(name, new URL(playlist, location.href)).href);
  if (!hls || (now.length === known.length && now.every((url) => known.includes(url)))) return;
  hls.destroy();
  play();
}

// A decoder that tripped is set up again; codecs that the browser does not know stay unknown.
function recover(data, misses) {
  if (!data.fatal || !hls) return;
  const unknown = [Hls.ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR, Hls.ErrorDetails.BUFFER_INCOMPATIBLE_CODECS_ERROR];
  if (unknown.includes(data.details)) failures = MISSES;
  else if (data.type === Hls.ErrorTypes.MEDIA_ERROR && misses <= MISSES) return hls.recoverMediaError();
  failed();
}

function levelName(level, index) {
  return level.height ? `${level.height}p` : level.name || `Quality ${index + 1}`;
}

function listQualities() {
  if (!quality) return;
  quality.replaceChildren(new Option("Automatic", "-1"));
  hls.levels.forEach((level, index) => quality.add(new Option(levelName(level, index), String(index))));
}

// What "automatic" means at the moment.
function nameQuality(_event, data) {
  if (!quality) return;
  const name = levelName(hls.levels[data.level], data.level);
  quality.options[0].text = hls.autoLevelEnabled ? `Automatic (${name})` : "Automatic";
}

function jumpToLive() {
  if (hls && Number.isFinite(hls.liveSyncPosition)) video.currentTime = hls.liveSyncPosition;
  else if (video.seekable.length) video.currentTime = video.seekable.end(video.seekable.length - 1);
  video.play().catch(() => {});
}

function turnSound(on) {
  video.muted = !on;
  if (on && video.volume === 0) video.volume = 0.5;
}

const KEYS = {
  k: () => (video.paused ? video.play().catch(() => {}) : video.pause()),
  m: () => turnSound(video.muted),
  f: () => (document.fullscreenElement ? document.exitFullscreen() : player.requestFullscreen()),
  l: jumpToLive,
  ArrowUp: () => (video.volume = Math.min(1, video.volume + 0.1)),
  ArrowDown: () => (video.volume = Math.max(0, video.volume - 0.1)),
};

// Where a key means something by itself (fields, lists, buttons, the video's own controls), it keeps that meaning.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea, summary, video")) return;
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || (event.key.startsWith("Arrow") && !player.contains(event.target) && document.activeElement !== document.body)) return;
  event.preventDefault();
  act();
});

quality?.addEventListener("change", () => {
  if (hls) hls.currentLevel = Number(quality.value);
});
toLive?.addEventListener("click", jumpToLive);
unmute.addEventListener("click", () => turnSound(true));
startButton.addEventListener("click", () => video.play().catch(() => {}));
video.addEventListener("resize", showMedia);
video.addEventListener("waiting", () => {
  clearTimeout(stall);
  stall = setTimeout(() => {
    if (player.dataset.state === "live") show(navigator.onLine ? "connecting" : "unreachable", navigator.onLine ? SAID.stalled : SAID.unreachable);
  }, STALL_MS);
});
video.addEventListener("volumechange", () => (unmute.hidden = !video.muted));

setInterval(() => lookForRenditions().catch(() => {}), RENDITIONS_MS);
setInterval(() => letIn().catch(() => {}), ACCESS_MS / 5);
if (latency) setInterval(() => {
  const known = hls && Number.isFinite(hls.latency) && player.dataset.state === "live";
  latency.textContent = known ? `${hls.latency.toFixed(1)} s behind live` : "";
}, 1000);

wait();
