"""The paper's equations.

Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training". Names are of
`gpt_tf`; letters of shapes are explained in `model.layers`.

  equation 1     L1, the loss of pre-training       `model.objectives.language_model_loss`
                 log P(u_i | u_i-k .. u_i-1)        `model.losses.weighted_lm_loss`
  equation 2     h_0 = U W_e + W_p                  `model.layers.TokenAndPositionEmbedding`
                 h_l = transformer_block(h_l-1)     `model.layers.DecoderBlock`
                 P(u) = softmax(h_n W_e^T)          `model.gpt.GPT.logits`
  equation 3     P(y | x) = softmax(h_l^m W_y)      `model.task_model.TaskHead`
  equation 4     L2, the loss of a task             `model.objectives.example_losses`
                                                    `model.objectives.class_losses`
  equation 5     L3 = L2 + lambda L1                `model.objectives.joint_loss`
  Figure 1 left  masked multi-head self-attention   `model.layers.CausalSelfAttention`
                                                    `model.attention.causal_attention`
                 position-wise feed-forward         `model.layers.FeedForward`
                 the decoder                        `model.gpt.GPT`
  Figure 1 right a task's texts as sequences        `tasks.forms.build`
                 the decoder with a task's head     `model.task_model.TaskModel`
  section 4.1    the values                         `config.ModelConfig`
                                                    `config.OptimizerConfig`
                                                    `config.FineTuningConfig`
                 GELU                               `model.layers.gelu`
                 dropout                            `model.dropout.dropout`
                 N(0, 0.02)                         `config.ModelConfig.initializer_range`
                 Adam with decoupled L2             `model.optimizer.update`
                 warm-up, then a cosine             `model.schedules.warmup_cosine`
                 warm-up, then a line               `model.schedules.warmup_linear`
                 byte pair encoding, ftfy, spaCy    `tokenizer.Tokenizer`
  section 5      zero-shot heuristics               `tasks.heuristics.prompts`
                                                    `tasks.heuristics.scored_sequences`
"""
