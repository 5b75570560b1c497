#!/usr/bin/env python3
"""Prompts that Hugging Face's transformers makes of conversations: what `infer::formats::template` is held to.

chat_templates.py OUT NAME=FILE...

FILE is a GGUF file, a tokenizer_config.json or a text, with the template of a model whose licence lets it lie in the
project. OUT is crates/infer/tests/golden/chat-templates.json.
"""
import json, sys

from transformers import __version__
from transformers.utils.chat_template_utils import render_jinja_template

user = lambda text: {"role": "user", "content": text}
assistant = lambda text: {"role": "assistant", "content": text}
system = lambda text: {"role": "system", "content": text}
WEATHER = {"type": "function", "function": {
    "name": "weather", "description": "The weather of a place, e.g. \"天气\"",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}}}
CALL = {"role": "assistant", "content": "", "tool_calls": [
    {"type": "function", "function": {"name": "weather", "arguments": {"place": "北京"}}}]}
CONVERSATIONS = [
    ([user("Hello")], None),
    ([system("Be brief."), user("What is 2 + 2?"), assistant("4"), user("And < 5 > 4 & \"so\"?")], None),
    ([user("  spaces \n and lines\n"), assistant("你好"), user("再见")], None),
    ([user("How is the weather?")], [WEATHER]),
    ([user("How is the weather?"), CALL, {"role": "tool", "name": "weather", "content": "{\"sunny\": true}"}], [WEATHER]),
]


def template(path):
    if path.endswith(".gguf"):
        from gguf import GGUFReader
        return GGUFReader(path).fields["tokenizer.chat_template"].contents()
    text = open(path).read()
    return json.loads(text)["chat_template"] if path.endswith(".json") else text


out, templates, cases = sys.argv[1], {}, []
for word in sys.argv[2:]:
    name, path = word.split("=", 1)
    templates[name] = template(path)
    for messages, tools in CONVERSATIONS:
        case = {"template": name, "messages": messages, "tools": tools}
        try:
            prompts, _ = render_jinja_template([messages], tools=tools, chat_template=templates[name],
                                               add_generation_prompt=True, bos_token="<s>", eos_token="</s>")
            case["prompt"] = prompts[0]
        except Exception as error:
            case["prompt"], case["error"] = None, str(error)
        cases.append(case)
with open(out, "w") as file:
    json.dump({"transformers": __version__, "templates": templates, "cases": cases}, file, indent=1, ensure_ascii=False)
    file.write("\n")
print(len(cases), "cases,", sum(case["prompt"] is None for case in cases), "refused")
