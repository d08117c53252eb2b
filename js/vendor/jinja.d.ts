export { Environment, Template } from '@huggingface/jinja';
