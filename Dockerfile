# The studio for other machines: docker build -t limner . && docker run --publish 7860:7860 limner
# It prints an address with a token. Models and runs: --volume "$PWD/runs:/runs" limner faces --runs /runs
FROM python:3.12-slim
WORKDIR /limner
COPY . .
# PyTorch's own index has a build without CUDA, a tenth of the size.
RUN pip install --no-cache-dir --require-hashes --no-deps --requirement requirements.lock \
    && pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu --constraint constraints.txt torch \
    && pip install --no-cache-dir --no-deps --no-build-isolation . \
    && useradd --create-home limner
USER limner
WORKDIR /home/limner
EXPOSE 7860
ENTRYPOINT ["limner", "studio", "--host", "0.0.0.0", "--public"]
