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
  location.reload();
  await new Promise(() => {}); // this page is over
}

await isolate();
const model = await load('clla-4m-chat', { threads: 2 });
const chat = model.chat({ sampling: { repetitionPenalty: 1.1 } });
const { variant, threads, reasons } = model.info;
state.textContent = [`isolated: ${crossOriginIsolated}`, `${variant}, ${threads} threads`, ...reasons].join('; ');
send.disabled = false;

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const { text } = Object.fromEntries(new FormData(form));
  form.reset();
  send.disabled = true; // one reply at a time
  talk.textContent += `${text}\n`;
  for await (const piece of chat.send(text)) talk.textContent += piece;
  talk.textContent += '\n\n';
  send.disabled = false;
});
