// What pages do beyond HTML: copy with one click, keep the session alive, and say aloud what changed. All of it works
// without: a key can be selected, a session goes on with the next click, and a page can be loaded again.
"use strict";

const CONTINUE_MS = 10 * 60 * 1000; // an access token holds 15 minutes
const announcement = document.getElementById("announcement");
const token = document.querySelector('meta[name="csrf-token"]')?.content;

function announce(text) {
  if (text && announcement.textContent !== text) announcement.textContent = text;
}

// Copies a field; the button says so for a moment.
async function copy(button) {
  const field = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(field.value);
  } catch {
    field.select(); // forbidden or not there: it is selected, and Ctrl+C does the rest
    announce("Press Ctrl+C to copy.");
    return;
  }
  const label = button.firstChild;
  const before = (button.dataset.label ??= label.textContent);
  label.textContent = "Copied";
  announce("Copied.");
  clearTimeout(Number(button.dataset.timer));
  button.dataset.timer = String(setTimeout(() => (label.textContent = before), 2000));
}

// One tab at a time exchanges the refresh token; the browser has the newest one for whichever tab comes next.
async function goOn() {
  await navigator.locks.request("streamkeep-session", () =>
    fetch("/session/continue", { method: "POST", headers: { "X-CSRF-TOKEN": token } }),
  );
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});

// Selects a field that is there to be copied, as soon as somebody goes into it.
document.addEventListener("focusin", (event) => {
  if (event.target.matches("input[readonly]")) event.target.select();
});

// Nobody looks at a hidden tab; it is fetched anew when somebody does.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden) event.preventDefault();
});

document.addEventListener("htmx:configRequest", (event) => {
  if (token) event.detail.headers["X-CSRF-TOKEN"] = token;
});

// A stream that has only just begun has no preview yet: its dark ground is better than a broken picture.
function hideBroken(image) {
  if (image.complete && image.naturalWidth === 0) image.hidden = true;
}
document.addEventListener("error", (event) => event.target.matches?.(".preview img") && hideBroken(event.target), true);
document.querySelectorAll(".preview img").forEach(hideBroken);

// The first text is what the page itself says; only what differs from it is said aloud.
let said = document.querySelector("[data-announce]")?.dataset.announce;
document.addEventListener("htmx:afterSwap", (event) => {
  const text = event.detail.target.querySelector("[data-announce]")?.dataset.announce;
  if (text && text !== said) announce((said = text));
});

if (token && navigator.locks) setInterval(() => goOn().catch(() => {}), CONTINUE_MS);
