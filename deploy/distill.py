#!/usr/bin/env python3
"""Asks a model behind an OpenAI-compatible address for answers to a file of prompts and writes them as a training file of chats.

    distill.py prompts.txt train.jsonl --url https://api.example.com/v1 --model NAME

A prompt is a line of text, or a line of JSON: {"prompt": "…"} or {"messages": [...]}. An interrupted run goes on where it ended: lines of the output
are never asked for again. What cannot be answered is told, counted, and asked for again by the next run. Python's standard library only.
"""
import argparse
import concurrent.futures
import json
import os
import sys
import time
import urllib.error
import urllib.request

RETRIED = (408, 409, 429, 500, 502, 503, 504)


def read_prompts(path, system):
    """The conversations to be answered, each with the line that it stands in."""
    found = []
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            line = line.strip()
            if not line:
                continue
            row = None
            if line.startswith("{"):
                try:
                    row = json.loads(line)
                except ValueError as e:
                    raise SystemExit(f"{path}:{number}: not valid JSON: {e}")
            messages = row.get("messages") if row else None
            if row is not None and messages is None:
                if not isinstance(row.get("prompt"), str):
                    raise SystemExit(f'{path}:{number}: has neither "prompt" nor "messages"')
                line = row["prompt"]
            messages = messages or [{"role": "user", "content": line}]
            while messages and messages[-1].get("role") == "assistant":  # answers of an old training file
                messages = messages[:-1]
            if not messages:
                raise SystemExit(f"{path}:{number}: has no message to answer")
            if system and messages[0].get("role") != "system":
                messages = [{"role": "system", "content": system}] + messages
            found.append((number, messages))
    return found


def read_done(path):
    """Conversations of the output so far. A last line that was cut off in the middle is taken away."""
    done, size = set(), 0
    try:
        with open(path, "rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                size += len(line)
                done.add(json.dumps(json.loads(line)["messages"][:-1], sort_keys=True))
        os.truncate(path, size)
    except FileNotFoundError:
        pass
    return done


def ask(options, messages):
    body = {"model": options.model, "messages": messages, "temperature": options.temperature, "max_tokens": options.max_tokens}
    request = urllib.request.Request(options.url.rstrip("/") + "/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    if options.key:
        request.add_header("Authorization", "Bearer " + options.key)
    for attempt in range(options.retries + 1):
        wait = min(60, 2 ** attempt)
        try:
            with urllib.request.urlopen(request, timeout=options.timeout) as reply:
                choice = json.load(reply)["choices"][0]
                if choice.get("finish_reason") == "length" and not options.keep_cut:
                    raise ValueError(f"the answer was cut at {options.max_tokens} tokens; raise --max-tokens, or --keep-cut")
                if not choice["message"].get("content"):
                    raise ValueError("the answer is empty")
                return choice["message"]["content"]
        except urllib.error.HTTPError as e:
            text = e.read(2000).decode(errors="replace")
            if e.code not in RETRIED or attempt == options.retries:
                raise ValueError(f"{e.code}: {text}")
            wait = float(e.headers.get("Retry-After") or wait) if (e.headers.get("Retry-After") or "1").isdigit() else wait
        except (urllib.error.URLError, TimeoutError, ConnectionError) as e:
            if attempt == options.retries:
                raise ValueError(str(e))
        time.sleep(min(wait, 120))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts")
    parser.add_argument("output")
    parser.add_argument("--url", default=os.environ.get("OPENAI_BASE_URL"), help="ends in /v1; standard: $OPENAI_BASE_URL")
    parser.add_argument("--model", required=True)
    parser.add_argument("--key-file", help="file with the key; standard: $OPENAI_API_KEY")
    parser.add_argument("--system", help="a system message before prompts that have none")
    parser.add_argument("--temperature", type=float, default=0)
    parser.add_argument("--max-tokens", type=int, default=1024)
    parser.add_argument("--keep-cut", action="store_true", help="also keep answers that were cut at --max-tokens")
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--retries", type=int, default=6)
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one answer")
    options = parser.parse_args()
    if not options.url:
        parser.error("--url or OPENAI_BASE_URL says whom to ask")
    options.key = open(options.key_file).read().strip() if options.key_file else os.environ.get("OPENAI_API_KEY", "")
    done, waiting = read_done(options.output), []
    for number, messages in read_prompts(options.prompts, options.system):
        text = json.dumps(messages, sort_keys=True)
        if text not in done:
            done.add(text)
            waiting.append((number, messages))
    failed = written = 0
    print(f"{len(waiting)} prompts to answer", file=sys.stderr)
    with open(options.output, "a", encoding="utf-8") as out, concurrent.futures.ThreadPoolExecutor(options.parallel) as pool:
        asked = {pool.submit(ask, options, messages): (number, messages) for number, messages in waiting}
        for answer in concurrent.futures.as_completed(asked):
            number, messages = asked[answer]
            try:
                row = {"messages": messages + [{"role": "assistant", "content": answer.result()}]}
            except (ValueError, KeyError, IndexError, TypeError) as e:
                failed += 1
                print(f"{options.prompts}:{number}: {e}", file=sys.stderr)
                continue
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            out.flush()
            written += 1
            if written % 50 == 0:
                print(f"{written} of {len(waiting)} answered", file=sys.stderr)
    print(f"{written} answered, {failed} not", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
