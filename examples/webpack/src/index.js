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

const modelUrl = new URL('clla/models/clla-4m-chat.gguf', import.meta.url);
const model = await load(modelUrl, { onProgress: ({ phase, loaded }) => (state.textContent = `${phase}: ${loaded} bytes`) });
const chat = model.chat({ sampling: { repetitionPenalty: 1.1 } });
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
    state.textContent = error.message; // the context is full, for one
  }
  send.disabled = false;
});
