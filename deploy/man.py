"""Makes the man pages from the program's own tables (run by the build): man.py TABLES.json honed.1|honed.conf.5 > PAGE"""
import datetime
import json
import os
import pathlib
import sys
import time


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def head(name, section, tables, what):
    moment = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    date = datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).date()
    return [f'.TH {name.upper()} {section} {date} "Hone {tables["version"]}"', ".SH NAME", f"{roff(name)} \\- {what}"]


def commands(tables):
    lines = head("honed", 1, tables, "fine\\-tuning job server")
    lines += [".SH SYNOPSIS", ".B honed", ".I command", ".RI [ argument ...]", ".SH DESCRIPTION"]
    lines += ["Takes data sets, base models and hyperparameters over HTTP, queues fine\\-tuning jobs, trains them in child processes, and serves",
              "metrics and results.", "The running server has the whole manual at /manual/ and a dashboard at /.", ".SH COMMANDS"]
    for command in tables["commands"]:
        if command["what"]:
            lines += [".TP", f".B {roff(command['synopsis'])}", roff(command["what"]) + "."]
    lines += [".SH COMMANDS THAT ASK A RUNNING SERVER"]
    for command in tables["client"]:
        lines += [".TP", f".B {roff(command['synopsis'])}", roff(command["what"]) + ".", "Example:", f".B {roff(command['example'])}"]
    lines += [".PP", "Their options:"]
    for option in tables["client_options"]:
        value = f" \\fI{roff(option['value'])}\\fR" if option["value"] else ""
        lines += [".TP", f"\\fB\\-\\-{roff(option['name'])}\\fR{value}", roff(option["help"]) + "."]
    lines += [".PP", "The settings of", ".B serve", "are listed in", ".BR honed.conf (5);", "each is a long option as well.",
              ".SH EXIT STATUS", "0 when all went well; 1 when the command failed or the server refused; 2 when it was not understood; 3 when the server cannot be",
              "reached; 4 when a job that was waited for failed or was cancelled; 130 when the waiting was ended with Ctrl\\-C.",
              ".B honed train", "returns 0 when the run finished, 3 when it was interrupted and can be resumed, 4 when another trainer holds the run, 5 when it",
              "failed for good, 6 when resources were missing.",
              ".SH ENVIRONMENT", ".TP", ".B HONE_SERVER", "the server that commands ask, as", r".BR \-\-server .", ".TP", ".B HONE_KEY", "the API key they give.",
              ".TP", ".B HONE_CA", "the certificates they trust.", ".TP", ".B HONE_CONFIG", "the configuration file, instead of", ".IR /etc/honed.conf .", ".TP", ".B HONE_KERNELS", "avx512, avx2 or portable: take the kernels that older CPUs run.",
              ".SH EXAMPLES", ".nf", "honed serve &", "honed model import base /path/to/model.gguf",
              roff("curl -F dataset=@train.jsonl -F model=base http://127.0.0.1:4663/jobs"), ".fi",
              ".SH SEE ALSO", ".BR honed.conf (5)"]
    return lines


def settings(tables):
    lines = head("honed.conf", 5, tables, "settings of the fine\\-tuning job server honed")
    lines += [".SH DESCRIPTION", "A file of", ".I key = value", "lines, named by", r".BR \-\-config .",
              "Empty lines and lines that begin with # are left out.",
              "Every key is also a long option of", ".BR \"honed serve\" ;", "options go before the file.",
              "Sizes take K, M, G and T.", "A setting that cannot be used stops the daemon at start.",
              "SIGHUP reads log_level and the certificate anew; other settings need a restart.", ".SH SETTINGS"]
    for setting in tables["settings"]:
        default = setting["default"]
        note = "" if default == "" else " The default is found at start." if default is None else f" The default is {roff(default)}."
        lines += [".TP", f".BR {roff(setting['name'])} \" ({roff(setting['type'])})\"", roff(setting["help"][0].upper() + setting["help"][1:]) + "." + note]
    lines += [".SH FILES", ".TP", ".I /etc/honed.conf", "the file that the systemd unit names", ".TP", ".I /var/lib/hone",
              "the state folder of the service", ".SH SEE ALSO", ".BR honed (1)"]
    return lines


tables = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
print("\n".join({"honed.1": commands, "honed.conf.5": settings}[sys.argv[2]](tables)))
