"""The games of some families in plain PyTorch, to be compared with: `networks` have the references' names, the games the settings of our `Config`s.

A game is made by a function of `benchmarks.torch_models.games.GAMES` from a family's Config and `learning.Options`; `game.step(batch, draws)` is one round.
Everything here is written for speed as PyTorch's own guide advises: channels last, fused Adam, one transfer per step and none back, no gradient that
nobody reads, TF32 or bfloat16 where asked for, `torch.compile` as an option. Import only where PyTorch is installed.
"""
