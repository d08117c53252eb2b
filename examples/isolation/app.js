// app.js: threads need shared memory, which browsers give to cross-origin isolated pages only. Where the host cannot send the
// two headers that say so, a service worker (isolate.js) adds them; the first visit loads the page a second time for that.

import { load } from './node_modules/clla/js/index_web.js';

const [talk, form, send, state] = ['#talk', 'form', 'button', '#state'].map((name) => document.querySelector(name));

async function isolate() {
  if (crossOriginIsolated || !navigator.serviceWorker) return;
  await navigator.serviceWorker.register('isolate.js');
  await navigator.serviceWorker.ready;
  if (sessionStorage.getItem('isolating')) return; // it did not help: better one thread than a page that reloads for ever
  sessionStorage.setItem('isolating', 'yes');
  const again = () => setTimeout(() => location.reload(), 100); // at once it would sometimes be lost
  addEventListener('pageshow', (event) => event.persisted && again()); // a later reload may bring this page back
  location.reload();
  await new Promise(() => {}); // this page is over
}

/** A new paragraph of the conversation. */
function says(who) {
  const text = document.createElement('span');
  const name = document.createElement('b');
  name.textContent = who;
  talk.append(name, text);
  return text;
}

/** In MB; of how many, where that is known. */
function onProgress({ phase, loaded, total }) {
  const [done, all] = [loaded, total].map((bytes) => (bytes / 1e6).toFixed(1));
  state.textContent = `${phase}: ${done}${total ? ` of ${all}` : ''} MB`;
}

/** Nothing can go on. */
function failed(error) {
  state.textContent = error.message;
  throw error;
}

await isolate().catch(() => {}); // no service worker to be had: one thread
const model = await load('clla-4m-chat', { threads: 2, onProgress }).catch(failed);
const chat = model.chat({ sampling: { repetitionPenalty: 1.1 }, trim: true }); // the oldest turns make room
const { variant, threads, reasons } = model.info;
state.textContent = [`isolated: ${crossOriginIsolated}`, `${variant}, ${threads} threads`, ...reasons].join('; ');
send.disabled = false;

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const { text } = Object.fromEntries(new FormData(form));
  form.reset();
  send.disabled = true; // one reply at a time
  says('You').textContent = text;
  const answer = says(model.info.name);
  try {
    for await (const piece of chat.send(text)) answer.textContent += piece;
    state.textContent = `${chat.usage.contextUsed} of ${chat.usage.contextSize} tokens`;
  } catch (error) {
    state.textContent = error.message; // a message that is longer than the context, for one
  }
  send.disabled = false;
});
