"""Speaks to a server through OpenAI's own client, unmodified.

    python openai_client.py HOST:PORT CHAT_MODEL EMBEDDING_MODEL

Prints one line when everything came as the client expects it; anything else is an exception.
"""

import json
import sys

import openai
from openai import OpenAI

address, chat, embedding = sys.argv[1:]
client = OpenAI(base_url=f"http://{address}/v1", api_key="none", max_retries=0)
hi = [{"role": "user", "content": "hi"}]

assert {chat, embedding} <= {model.id for model in client.models.list()}
assert client.models.retrieve(chat).id == chat

whole = client.chat.completions.create(model=chat, messages=hi, max_completion_tokens=8, seed=1, n=2, logprobs=True,
                                       top_logprobs=3)
assert len(whole.choices) == 2 and whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
assert all(len(token.top_logprobs) == 3 for choice in whole.choices for token in choice.logprobs.content)
stream = client.chat.completions.create(model=chat, messages=hi, max_completion_tokens=8, seed=1, stream=True,
                                        stream_options={"include_usage": True})
chunks = list(stream)
text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert text == whole.choices[0].message.content, (text, whole.choices[0].message.content)
assert chunks[-1].usage.completion_tokens > 0

schema = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"], "additionalProperties": False}
answer = client.chat.completions.create(
    model=chat, messages=hi, max_completion_tokens=40, seed=1,
    response_format={"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}})
assert isinstance(json.loads(answer.choices[0].message.content)["yes"], bool)

tools = [{"type": "function", "function": {"name": "turn", "parameters": schema}}]
called = client.chat.completions.create(model=chat, messages=hi, tools=tools, tool_choice="required",
                                        max_completion_tokens=80, seed=1)
call = called.choices[0].message.tool_calls[0]
assert called.choices[0].finish_reason == "tool_calls" and call.function.name == "turn"
assert isinstance(json.loads(call.function.arguments)["yes"], bool)
with client.chat.completions.stream(model=chat, messages=hi, tools=tools, tool_choice="required",
                                    max_completion_tokens=80, seed=1) as stream:
    final = stream.get_final_completion()
assert final.choices[0].message.tool_calls[0].function.arguments == call.function.arguments
messages = hi + [called.choices[0].message.model_dump(exclude_none=True),
                 {"role": "tool", "tool_call_id": call.id, "content": "done"}]
assert client.chat.completions.create(model=chat, messages=messages, tools=tools, max_completion_tokens=4).choices

text = client.completions.create(model=chat, prompt=["a", "b"], max_tokens=4, logprobs=2, echo=False, temperature=0)
assert len(text.choices) == 2 and len(text.choices[0].logprobs.tokens) == len(text.choices[0].logprobs.token_logprobs)
assert "".join(part.choices[0].text for part in client.completions.create(
    model=chat, prompt="a", max_tokens=4, temperature=0, stream=True)) == text.choices[0].text

response = client.responses.create(model=chat, input="hi", max_output_tokens=8, temperature=0)
assert response.output_text == client.responses.retrieve(response.id).output_text
after = client.responses.create(model=chat, input="and", previous_response_id=response.id, max_output_tokens=4)
assert after.previous_response_id == response.id and after.usage.input_tokens > response.usage.input_tokens
flat = [{"type": "function", "name": "turn", "parameters": schema}]
called = client.responses.create(model=chat, input="hi", tools=flat, tool_choice="required", max_output_tokens=80)
assert called.output[0].type == "function_call" and called.output[0].name == "turn"
events = list(client.responses.create(model=chat, input="hi", max_output_tokens=8, temperature=0, stream=True))
assert events[0].type == "response.created" and events[-1].response.output_text == response.output_text
assert events[-1].type == {"incomplete": "response.incomplete", "completed": "response.completed"}[response.status]
with client.responses.stream(model=chat, input="hi", max_output_tokens=40,
                             extra_body={"structured_outputs": {"regex": "a{3}"}}) as stream:
    names = [event.type for event in stream]
    final = stream.get_final_response()
assert names[-1] == "response.completed" and final.output_text == "aaa", names
client.responses.delete(response.id)

vectors = client.embeddings.create(model=embedding, input=["a ship", "a yard"])
plain = client.embeddings.create(model=embedding, input="a ship", encoding_format="float")
assert vectors.data[0].embedding == plain.data[0].embedding and vectors.usage.prompt_tokens > plain.usage.prompt_tokens
tokens = client.embeddings.create(model=embedding, input=[[1, 2, 3]])
assert len(tokens.data[0].embedding) == len(plain.data[0].embedding)

for wrong, kind in [
    (lambda: client.chat.completions.create(model="other", messages=hi), openai.NotFoundError),
    (lambda: client.chat.completions.create(model=chat, messages=[]), openai.BadRequestError),
    (lambda: client.chat.completions.create(model=chat, messages=hi, temperature=9), openai.BadRequestError),
    (lambda: client.responses.retrieve(response.id), openai.NotFoundError),
    (lambda: client.embeddings.create(model=chat, input="x"), openai.BadRequestError),
]:
    try:
        wrong()
    except kind as error:
        assert error.body["message"], error
    else:
        raise AssertionError(kind)
print("the client agrees")
