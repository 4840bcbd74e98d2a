;;; keys.el --- When keys were obeyed while mail was sent  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Loaded into the Emacs that keys.py types into.  What is noted there is
;; written, by C-c t, to the file that KEYS_LOG names: lines of a word, a
;; time, and the seconds of garbage collection up to then.  The lines "own" have
;; the seconds, less garbage collection, that a filter or timer of ours took.

;;; Code:

(require 'message)
(require 'smtpmail)

(declare-function smtps-mode "smtps")
(declare-function smtps-send-queued "smtps-send")

(defvar keys-noted nil
  "Lines, the last first.")

(defun keys-note (word &optional time)
  "Note WORD with TIME, by default now."
  (push (format "%s %.6f %.6f" word (or time (float-time)) gc-elapsed) keys-noted))

(defun keys-key ()
  "Note that a key was obeyed, in the buffer that is typed into."
  (when (and (eq this-command #'self-insert-command)
             (equal (buffer-name) "typed"))
    (keys-note "key")))

(defun keys-send (function &rest arguments)
  "Apply the command FUNCTION to ARGUMENTS, and note when it began and returned."
  (keys-note "command-begins")
  (prog1 (apply function arguments)
    (keys-note "command-ends")))

(defun keys-hand-over (function &rest arguments)
  "Apply the send function FUNCTION to ARGUMENTS, and note as `keys-send' does."
  (keys-note "function-begins")
  (prog1 (apply function arguments)
    (keys-note "function-ends")))

(defvar keys-within nil
  "Non-nil within a function of ours that is measured.")

(defun keys-own (function &rest arguments)
  "Apply FUNCTION, a filter or timer of ours, to ARGUMENTS, and note how long it took."
  (if keys-within
      (apply function arguments)
    (let ((keys-within t)
          (began (float-time))
          (collected gc-elapsed))
      (prog1 (apply function arguments)
        (keys-note "own" (- (float-time) began (- gc-elapsed collected)))))))

(defun keys-end ()
  "Write down what was noted, and go."
  (interactive)
  (write-region (concat (string-join (reverse keys-noted) "\n") "\n") nil
                (getenv "KEYS_LOG") nil 'silent)
  (kill-emacs))

(defun keys-compose ()
  "Compose a mail with the file KEYS_FILE attached."
  (interactive)
  (message-mail "to@example.org" "A large mail")
  (message-goto-body)
  (insert "As promised.\n\n")
  (mml-attach-file (getenv "KEYS_FILE") "application/octet-stream" "a file" "attachment")
  (message-goto-body))

(defun keys-go ()
  "Have what is queued sent."
  (interactive)
  (keys-note "go")
  (smtps-mode 1)
  (smtps-send-queued)
  (keys-note "command-ends"))

(global-set-key (kbd "C-c k") #'keys-compose)
(global-set-key (kbd "C-c g") #'keys-go)
(global-set-key (kbd "C-c t") #'keys-end)
(add-hook 'post-command-hook #'keys-key)
(advice-add 'message-send-and-exit :around #'keys-send)
(dolist (function '(smtps-send-it smtpmail-send-it))
  (advice-add function :around #'keys-hand-over))
(with-eval-after-load 'smtps-rpc
  (dolist (function '(smtps-rpc--heard smtps-rpc--heard-stderr smtps-rpc--ended
                      smtps-rpc--work smtps-rpc--settle smtps-rpc--timed-out))
    (advice-add function :around #'keys-own)))
(with-eval-after-load 'smtps
  (advice-add 'smtps--take-up-queue :around #'keys-own))
(with-eval-after-load 'smtps-mode-line
  (advice-add 'smtps-mode-line--look :around #'keys-own))
(with-eval-after-load 'smtps-outbox-ui
  (dolist (function '(smtps-outbox-ui--look-soon smtps-outbox-ui--look-now))
    (advice-add function :around #'keys-own)))

(setq user-mail-address "from@example.org"
      network-security-level 'low
      message-confirm-send nil
      message-kill-buffer-on-exit t
      inhibit-startup-screen t)
(switch-to-buffer "typed")

;;; keys.el ends here
