// app.js: a chat that goes on after the page was closed. It is kept in IndexedDB under a name: the messages, and the cache of
// what was computed of them, so that nothing is read a second time.

import { chats, load } from './node_modules/clla/js/index_web.js';

const [talk, form, send, state] = ['#talk', 'form', 'button', '#state'].map((name) => document.querySelector(name));
const NAME = 'last';

document.querySelector('#forget').addEventListener('click', async () => {
  await chats.remove(NAME).catch(() => {}); // nothing was said yet
  location.reload();
});

/** A new paragraph of the conversation. */
function says(role, content) {
  const [name, text] = ['b', 'span'].map((tag) => document.createElement(tag));
  name.textContent = role === 'user' ? 'You' : model.info.name;
  text.textContent = content;
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

/** The one that was saved. What cannot be opened (damaged, or of another model) stays until the next reply is saved. */
async function openChat() {
  try {
    const chat = await chats.open(NAME, model);
    state.textContent = `reopened: ${chat.usage.contextUsed} tokens, none of them read again`;
    return chat;
  } catch (error) {
    state.textContent = error.code === 'NOT_STORED' ? 'a new chat' : `a new chat: ${error.message}`;
    return model.chat({ sampling: { repetitionPenalty: 1.1 }, trim: true }); // the oldest turns make room
  }
}

const model = await load('clla-4m-chat', { onProgress }).catch(failed);
const chat = await openChat();
for (const { role, content } of chat.messages) says(role, content);
send.disabled = false;

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const { text } = Object.fromEntries(new FormData(form));
  form.reset();
  send.disabled = true; // one reply at a time
  says('user', text);
  const answer = says('assistant', '');
  try {
    const reply = chat.send(text);
    for await (const piece of reply) answer.textContent += piece;
    const { usage, timings } = await reply.done;
    await chats.save(NAME, chat);
    state.textContent = `saved; ${usage.cachedTokens} tokens were there already, ${timings.promptN} were read`;
  } catch (error) {
    state.textContent = error.message; // a message that is longer than the context, for one
  }
  send.disabled = false;
});
