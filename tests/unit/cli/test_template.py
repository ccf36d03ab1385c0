"""Go templates: what people write behind --format."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.cli.template import Template
from sampan.cli.template_parse import TemplateError

DATA = {
    "Id": "abc",
    "Name": "/web",
    "State": {"Status": "running", "Running": True, "ExitCode": 0, "Pid": 4242},
    "Config": {"Labels": {"a.b": "c", "x": "y"}, "Env": ["A=1", "B=2"], "Cmd": None},
    "NetworkSettings": {"Networks": {"front": {"IPAddress": "10.0.0.2"}}, "Ports": {}},
    "Mounts": [{"Source": "/s", "RW": False}, {"Source": "/t", "RW": True}],
    "Size": 1.5,
    "Label": lambda name: f"<{name}>",
}


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("plain", "plain"),
        ("{{.Id}}", "abc"),
        ("{{ .State.Status }}!", "running!"),
        ("{{.State.Running}} {{.State.ExitCode}} {{.Size}}", "true 0 1.5"),
        ("{{.Config.Labels}}", "map[a.b:c x:y]"),
        ("{{.Config.Env}}", "[A=1 B=2]"),
        ("{{json .Config.Env}}", '["A=1","B=2"]'),
        ('{{index .Config.Labels "a.b"}}', "c"),
        ("{{index .Config.Env 1}}", "B=2"),
        ('{{index .Mounts 0 "Source"}}', "/s"),
        ("{{(index .Mounts 1).Source}}", "/t"),
        ("{{.NetworkSettings.Networks.front.IPAddress}}", "10.0.0.2"),
        ("{{range .Config.Env}}{{.}};{{end}}", "A=1;B=2;"),
        ("{{range $i, $e := .Config.Env}}{{$i}}={{$e}} {{end}}", "0=A=1 1=B=2 "),
        ("{{range $k, $v := .Config.Labels}}{{$k}}:{{$v}} {{end}}", "a.b:c x:y "),
        ("{{range .NetworkSettings.Ports}}x{{else}}none{{end}}", "none"),
        ("{{range .Mounts}}{{if .RW}}{{.Source}}{{end}}{{end}}", "/t"),
        ("{{range .Config.Env}}{{if eq . \"B=2\"}}{{break}}{{end}}{{.}}{{end}}", "A=1"),
        ("{{range .Config.Env}}{{if eq . \"A=1\"}}{{continue}}{{end}}{{.}}{{end}}", "B=2"),
        ("{{range .Mounts}}{{$.Id}}{{end}}", "abcabc"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .State.ExitCode}}bad{{else if .State.Running}}fine{{else}}x{{end}}", "fine"),
        ("{{if and .State.Running (not .State.ExitCode)}}ok{{end}}", "ok"),
        ("{{if or .State.ExitCode .Config.Cmd}}a{{else}}b{{end}}", "b"),
        ("{{with .State}}{{.Status}}{{end}}", "running"),
        ("{{with .Config.Cmd}}x{{else}}nothing{{end}}", "nothing"),
        ("{{.State.Health}}", "<no value>"),
        ("{{if .State.Health}}x{{else}}unchecked{{end}}", "unchecked"),
        ("{{.Config.Labels.missing}}", "<no value>"),
        ("{{.Name | upper}}", "/WEB"),
        ('{{slice .Name 1}} {{printf "%-5s|%03d|%q" .Id 7 "q"}}', 'web abc  |007|"q"'),
        ('{{join .Config.Env ","}}', "A=1,B=2"),
        ('{{len .Mounts}} {{len "héé"}}', "2 5"),
        ("{{lt 1 2}} {{ge 2 2}} {{ne 1 2}} {{eq 3 1 2 3}}", "true true true true"),
        ('{{println "a" 1 true}}', "a 1 true\n"),
        ('{{print 1 2 "x" 3}}', "1 2x3"),
        ('{{title "two words"}} {{lower "ABC"}}', "Two Words abc"),
        ('{{truncate "abcdef" 3}} {{pad "x" 1 2}}|', "abc  x  |"),
        ('{{split "a,b" ","}}', "[a b]"),
        ('{{.Label "k"}}', "<k>"),
        ('{{"a\\tb\\"c"}} {{`raw\\n`}}', 'a\tb"c raw\\n'),
        ("a {{- .Id -}} b", "aabcb"),
        ("a{{/* comment */}}b {{- /* c */ -}} c", "ab c".replace(" ", "")),
        ("{{$x := .Id}}{{$x}}{{$x = .Name}}{{$x}}", "abc/web"),
        ("{{.State.Pid | printf \"%d\"}}", "4242"),
        ("{{html \"<a>\"}}", "&lt;a&gt;"),
        ("{{json .State.Running}}{{json .Config.Cmd}}", "truenull"),
        ("{{range 3}}{{.}}{{end}}", "012"),
    ],
)  # fmt: skip
def test_text(text: str, want: str) -> None:
    assert Template(text).render(DATA) == want


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{.Nmae}}", "at character 3: .Nmae: no such field; did you mean .Name?"),
        (
            "ab{{.State.Zip}}",
            "at character 5: .State.Zip: no such field; it has: ExitCode Pid Running Status",
        ),
        ("{{.Id.X}}", "at character 3: .Id is abc: it has no field X"),
        ("{{.Config.Cmd.X}}", "at character 3: .Config.Cmd has no value, so it has no field X"),
        ("{{.Mounts.Source}}", "at character 3: .Mounts is a list: it has no field Source"),
        ("{{", "at character 1: {{ without }}"),
        ("{{.Id", "at character 1: {{ without }}"),
        ("{{}}", "empty action"),
        ("{{if .Id}}x", "at character 3: if without end"),
        ("{{range .Id}}", "at character 3: range without end"),
        ("x{{end}}", "at character 4: unexpected {{end}}"),
        ("{{nosuch 1}}", "at character 3: function 'nosuch' is not defined"),
        ("{{$y}}", "at character 3: undefined variable $y"),
        ('{{"open}}', "at character 3: a string does not end"),
        ("{{.Id | }}", "a value is missing"),
        ("{{(.Id}}", "at character 3: ( without )"),
        ("{{.Id)}}", "at character 6: unexpected ')'"),
        ("{{index .Mounts 9}}", "at character 3: index: index 9 out of range: there are 2"),
        ("{{lt 1 .Id}}", "cannot order"),
        ("{{eq 1 .Id}}", "cannot compare"),
        ("{{len 5}}", "len of 5"),
        ("{{upper 5}}", "'5' is not text"),
        ("{{upper}}", "wrong number or kind of arguments"),
        ("{{.Id 5}}", "is not a function, yet has arguments"),
        ("{{range .Id}}{{end}}", "range cannot iterate over 'abc'"),
        ('{{define "x"}}{{end}}', "define is not supported here"),
        ("{{break}}", "break is not supported here"),
        ("{{.Id ~}}", "unexpected '~'"),
        ("{{1x}}", "'1x' is not a number"),
        ("{{" + "(" * 200 + ".Id" + ")" * 200 + "}}", "nested too deeply"),
        ("{{if .Id}}" * 200 + "{{end}}" * 200, "nested too deeply"),
    ],
)
def test_mistakes_name_the_place(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(text).render(DATA)
    assert message in str(caught.value)


@given(st.text())
def test_text_without_braces_is_itself(text: str) -> None:
    plain = text.replace("{", "")
    assert Template(plain).render({}) == plain


@given(st.text(alphabet='{}.$|()= "`-x1rangeifd,:/*', max_size=30))
def test_any_input_gives_text_or_a_template_error(text: str) -> None:
    try:
        result = Template("{{" + text + "}}").render(DATA)
    except TemplateError:
        return
    assert isinstance(result, str)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=30)
@given(_JSON)
def test_json_comes_back(value: object) -> None:
    assert json.loads(Template("{{json .}}").render(value)) == value  # type: ignore[arg-type]  # any JSON value
