// app.js: a chat that goes on after the page was closed. It is kept in IndexedDB under a name: the messages, and the cache of
// what was computed of them, so that nothing is read a second time.

import { chats, load } from './node_modules/clla/js/index_web.js';

const [talk, form, send, state] = ['#talk', 'form', 'button', '#state'].map((name) => document.querySelector(name));
const NAME = 'last';

function says(role, content) {
  const [name, text] = ['b', 'span'].map((tag) => document.createElement(tag));
  name.textContent = role;
  text.textContent = content;
  talk.append(name, text);
  return text;
}

const model = await load('clla-4m-chat');
const known = (await chats.list()).some(({ name }) => name === NAME);
const chat = known ? await chats.open(NAME, model) : model.chat({ sampling: { repetitionPenalty: 1.1 } });
for (const { role, content } of chat.messages) says(role, content);
state.textContent = known ? `reopened: ${chat.usage.contextUsed} tokens, none of them read again` : 'a new chat';
send.disabled = false;

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const { text } = Object.fromEntries(new FormData(form));
  form.reset();
  send.disabled = true; // one reply at a time
  says('user', text);
  const answer = says('assistant', '');
  const reply = chat.send(text);
  for await (const piece of reply) answer.textContent += piece;
  const { usage, timings } = await reply.done;
  await chats.save(NAME, chat);
  state.textContent = `saved; ${usage.cachedTokens} tokens were there already, ${timings.promptN} were read`;
  send.disabled = false;
});

document.querySelector('#forget').addEventListener('click', async () => {
  await chats.remove(NAME).catch(() => {}); // nothing was said yet
  location.reload();
});
