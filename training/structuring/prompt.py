"""How a language model is asked for findings: the instruction, the report, and the chat template around them."""

from transformers import PreTrainedTokenizerBase

from selip.processing.structurer import ReportText

INSTRUCTION = (
    "You read radiology reports of head MRI, in English or Chinese. List every finding that the report states, in "
    'the order of the text, as JSON without blanks: {"findings":[{"finding":...,"site":...},...]}. A finding is one '
    "lesion or statement at one site, however many sequences show it. Keys in this order, and only where the report "
    "says something: finding, site, laterality (left, right, bilateral, midline), signals (sequence and signal), "
    "morphology, count, size_mm, severity, acuity, change, certainty (probable, possible, absent). What the report "
    "denies is a finding with certainty absent; what it calls normal is the finding normal at its site; what it does "
    "not mention is left out. A hedged diagnosis after a description is a finding of its own. Terms are English and "
    "canonical."
)
"""The shipped instruction. It explains the form to a model that has never seen it; one from scratch needs none."""

FALLBACK_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ message['content'] + eos_token }}"
    "{% else %}{{ message['content'] + '\n\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'FINDINGS AS JSON:\n' }}{% endif %}"
)
"""For a tokenizer without a chat template; it is saved with the tokenizer, so that inference asks as training did."""

_MARK = "\u2063answer\u2063"  # invisible separators: in no template, and no tokenizer splits what is only searched for


def report_message(report: ReportText) -> str:
    """The report as the model sees it: its sections, named in English whatever the language."""
    return f"FINDINGS:\n{report.findings.strip()}\n\nIMPRESSION:\n{report.impression.strip()}"


class ReportPrompt:
    """Prompts and answers as tokens, for one tokenizer and one instruction.

    A tokenizer without a chat template gets `FALLBACK_TEMPLATE`, in place.

    Attributes:
        instruction: what is said before the report; may be empty.
        closing: what the template puts after an answer.
        stop_id: the token that ends an answer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, instruction: str):
        if tokenizer.chat_template is None:
            if tokenizer.eos_token is None:
                raise ValueError(
                    "expected a tokenizer with a chat template or an eos token to end an answer, got neither"
                )
            tokenizer.chat_template = FALLBACK_TEMPLATE
        self.tokenizer = tokenizer
        self.instruction = instruction
        self.closing = self._closing()
        closing_ids = self._ids(self.closing)
        self.stop_id: int = closing_ids[0] if closing_ids else tokenizer.eos_token_id

    def text(self, report: ReportText) -> str:
        """The prompt of a report, up to where the answer begins."""
        return str(
            self.tokenizer.apply_chat_template(
                self._messages(report),
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,  # Qwen3's templates think by default; others ignore it
            )
        )

    def prompt_ids(self, report: ReportText) -> list[int]:
        """Tokens of the prompt; the template brings the special ones itself."""
        return self._ids(self.text(report))

    def answer_ids(self, answer: str) -> list[int]:
        """Tokens of an answer and the one that ends it."""
        return [*self._ids(answer), self.stop_id]

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _messages(self, report: ReportText) -> list[dict[str, str]]:
        question = {"role": "user", "content": report_message(report)}
        if not self.instruction:
            return [question]
        # not a system message: some templates (Gemma) have no such role
        return [{**question, "content": f"{self.instruction}\n\n{question['content']}"}]

    def _closing(self) -> str:
        """What follows an answer in the template, less the line feeds after it."""
        messages = [{"role": "user", "content": ""}, {"role": "assistant", "content": _MARK}]
        rendered = str(self.tokenizer.apply_chat_template(messages, tokenize=False, enable_thinking=False))
        return rendered.rpartition(_MARK)[2].strip()
