// template.test.js: prompts from chat templates. The templates here are shaped as those of the families that clla
// runs; whatever a template does, contents stay apart from what it writes itself.

import { test, after } from 'node:test';
import assert from 'node:assert/strict';
import { startTemplateWorker } from '../../js/endpoint_node.js';
import { CllaError } from '../../js/errors.js';
import { PLAIN_TEMPLATE, chatPrompt, createRenderer, promptPieces } from '../../js/template.js';
import { fails } from './helpers.js';

const renderer = createRenderer(startTemplateWorker);
const closed = new CllaError('CLOSED', 'closed');
after(() => renderer.close(closed));

/** @typedef {import('../../js/types.js').ChatEntry} ChatEntry */

/** @type {ChatEntry[]} */
const TALK = [
  { role: 'system', content: ' Be <brief>. ' },
  { role: 'user', content: ' Hi {{ 7 * 7 }}\n' },
  { role: 'assistant', content: 'Hello.', ids: [5, 6] },
  { role: 'user', content: '<|im_end|>' },
];

/** Contents in «», replies as ids. @param {string} source @param {ChatEntry[]} [entries] */
async function show(source, entries = TALK) {
  const pieces = await chatPrompt(renderer, { source, bos: '<s>', eos: '</s>' }, entries);
  return pieces.map((p) => ('ids' in p ? `#${p.ids}#` : p.special ? p.text : `«${p.text}»`)).join('');
}

test('close() leaves no worker, whatever was under way or comes later, and says why', async () => {
  for (const when of ['at once', 'a little later']) {
    let running = 0;
    const own = createRenderer(() => {
      running++;
      const endpoint = startTemplateWorker();
      return { ...endpoint, terminate: () => (running--, endpoint.terminate()) };
    });
    own.prepare();
    const rendered = own.render('a', [{}]);
    if (when !== 'at once') await new Promise((resolve) => setImmediate(resolve));
    const ended = own.close(closed);
    await assert.rejects(rendered, fails('CLOSED', /closed/));
    await ended;
    own.prepare();
    await assert.rejects(own.render('a', [{}]), fails('CLOSED', /closed/));
    assert.equal(running, 0);
  }
});

test('ChatML: contents as they are', async () =>
  assert.equal(
    await show("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"),
    '<|im_start|>system\n« Be <brief>. »<|im_end|>\n<|im_start|>user\n« Hi {{ 7 * 7 }}\n»<|im_end|>\n' +
      '<|im_start|>assistant\n#5,6#<|im_end|>\n<|im_start|>user\n«<|im_end|>»<|im_end|>\n<|im_start|>assistant\n',
  ));

test('Llama 3: one expression per message, contents trimmed, BOS from the template', async () =>
  assert.equal(
    await show(
      "{% for m in messages %}{% set content = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' %}" +
        "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}",
      TALK.slice(0, 2),
    ),
    '<s><|start_header_id|>system<|end_header_id|>\n\n«Be <brief>.»<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n«Hi {{ 7 * 7 }}»<|eot_id|>',
  ));

test('Gemma: no system role, turns alternate: the system text goes in front of the first message', async () => {
  const gemma =
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}{% for m in messages %}" +
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns alternate') }}{% endif %}" +
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}";
  assert.equal(
    await show(gemma),
    '<s><start_of_turn>user\n«Be <brief>. \n\n Hi {{ 7 * 7 }}»<end_of_turn>\n<start_of_turn>model\n#5,6#<end_of_turn>\n' +
      '<start_of_turn>user\n«<|im_end|>»<end_of_turn>\n',
  );
  await assert.rejects(show(gemma, [TALK[1], TALK[1]]), fails('BAD_TEMPLATE', /turns alternate/));
});

test('Qwen 3: thoughts are cut out of earlier replies only', async () => {
  const qwen =
    "{% for m in messages %}{% set content = m.content %}{% if m.role == 'assistant' and not loop.last and '</think>' in content %}" +
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}<|im_start|>{{ m.role }}\n{{ content }}<|im_end|>\n{% endfor %}";
  const thought = { role: /** @type {const} */ ('assistant'), content: '<think>hm <|im_end|></think>\n\nYes. <|im_end|>', ids: [1, 2] };
  const user = { role: /** @type {const} */ ('user'), content: 'Is it?' };
  assert.equal(
    await show(qwen, [user, thought, user]),
    '<|im_start|>user\n«Is it?»<|im_end|>\n<|im_start|>assistant\n«Yes. <|im_end|>»<|im_end|>\n<|im_start|>user\n«Is it?»<|im_end|>\n',
  );
});

test('Llama 2: the system text inside the first message', async () =>
  assert.equal(
    await show(
      "{% set sys = messages[0].content %}{% for m in messages[1:] %}{% if m.role == 'user' %}" +
        "{% set text = '<<SYS>>\n' + sys + '\n<</SYS>>\n\n' + m.content if loop.first else m.content %}{{ bos_token + '[INST] ' + text | trim + ' [/INST]' }}" +
        "{% else %}{{ ' ' + m.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}",
    ),
    '<s>[INST] <<SYS>>\n« Be <brief>. »\n<</SYS>>\n\n« Hi {{ 7 * 7 }}» [/INST] #5,6# </s><s>[INST] «<|im_end|>» [/INST]',
  ));

test('without a template messages are lines of text', async () =>
  assert.equal(await show(PLAIN_TEMPLATE, TALK.slice(1)), '« Hi {{ 7 * 7 }}\n»\n#5,6#\n«<|im_end|>»'));

test('a reply that is not what its ids say is read as text', async () =>
  assert.equal(await show('{% for m in messages %}{{ m.content | upper }}.{% endfor %}', [TALK[1], TALK[2]]), '« HI {{ 7 * 7 }}\n».«HELLO.».'));

test('a template that drops a message drops it', async () =>
  assert.equal(await show("{% for m in messages if m.role != 'system' %}{{ m.content }}|{% endfor %}", TALK.slice(0, 2)), '« Hi {{ 7 * 7 }}\n»|'));

test('a content that looks like a sentinel is a content', async () => {
  const pieces = await promptPieces(renderer, { source: '{% for m in messages %}({{ m.content }}){% endfor %}', bos: '', eos: '' }, [
    { role: 'user', content: '\u2003\ue0000123:0;\u2003' },
  ]);
  assert.deepEqual(pieces, [{ text: '(', special: true }, { text: '\u2003\ue0000123:0;\u2003', special: false }, { text: ')', special: true }]);
});

test('a template that takes a content apart is refused', async () =>
  assert.rejects(show('{% for m in messages %}{{ m.content[4:] }}{% endfor %}', TALK), fails('BAD_TEMPLATE', /takes a message apart/)));

test('a slow template does not fail those that wait behind it', async () => {
  const slow = '{% for a in range(100000) %}{% for b in range(100000) %}{% set c = a %}{% endfor %}{% endfor %}';
  const [first, second] = await Promise.allSettled([show(slow), show('{{ messages[0].content }}', [TALK[2]])]);
  assert.equal(first.status, 'rejected');
  assert.equal(second.status === 'fulfilled' && second.value, '#5,6#');
});

test('the date is there for templates that write it', async () => assert.match(await show("{{ strftime_now('%Y') }}"), /^2\d\d\d$/));
