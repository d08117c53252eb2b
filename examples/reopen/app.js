// app.js: a chat that goes on after the page was closed. What is kept is a file, chat.save(): the messages, and the cache of
// what was computed of them, so that nothing is read a second time. Here the browser's Cache keeps it.

import { load } from './node_modules/clla/js/index_web.js';

const [talk, form, send, state] = ['#talk', 'form', 'button', '#state'].map((name) => document.querySelector(name));
const kept = await caches.open('chats');

function says(role, content) {
  const [name, text] = ['b', 'span'].map((tag) => document.createElement(tag));
  name.textContent = role;
  text.textContent = content;
  talk.append(name, text);
  return text;
}

const model = await load('clla-4m-chat');
const file = await (await kept.match('/chat'))?.blob();
const chat = file ? await model.restore(file) : model.chat({ sampling: { repetitionPenalty: 1.1 } });
for (const { role, content } of chat.messages) says(role, content);
state.textContent = file ? `reopened: ${chat.usage.contextUsed} tokens, none of them read again` : 'a new chat';
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
  await kept.put('/chat', new Response(await chat.save()));
  state.textContent = `saved; ${usage.cachedTokens} tokens were there already, ${timings.promptN} were read`;
  send.disabled = false;
});

document.querySelector('#forget').addEventListener('click', async () => {
  await kept.delete('/chat');
  location.reload();
});
