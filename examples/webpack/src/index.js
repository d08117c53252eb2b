// index.js: a chat in a page; the model's file is an asset like any other.

import { load } from 'clla';

const [talk, form, send, state] = ['#talk', 'form', 'button', '#state'].map((name) => document.querySelector(name));

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

const modelUrl = new URL('clla/models/clla-4m-chat.gguf', import.meta.url);
const model = await load(modelUrl, { onProgress }).catch(failed);
const chat = model.chat({ sampling: { repetitionPenalty: 1.1 }, trim: true }); // the oldest turns make room
state.textContent = `${model.info.name}, ${model.info.variant}`;
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
