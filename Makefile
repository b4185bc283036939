# Short names for the scripts; none of them needs make.
.PHONY: demo test check format

demo:
	bin/demo

test:
	bin/test

check:
	bin/check

format:
	. bin/lib.sh; root=$$PWD; prepare dev; $$python -m ruff check --fix .; $$python -m ruff format .
