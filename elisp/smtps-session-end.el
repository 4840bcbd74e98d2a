;;; smtps-session-end.el --- The end of a session's connection  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; However it comes, what was typed and not sent stays in the buffer, but for
;; what may be a secret; and what may have been sent is told.

;;; Code:

(require 'cl-lib)
(require 'seq)
(require 'smtps-helper)
(require 'smtps-session-buffer)
(require 'smtps-session-secret)

(defvar smtps-session-closed-map)

(defun smtps-session--give-back (entries &optional doubtful)
  "Put the lines of ENTRIES, which were not sent, before what is half typed.
Tell of those that are not put back, since they may be secrets.  If DOUBTFUL,
some may have been sent."
  (let* ((kept (smtps-session--not-secret entries))
         (lost (- (length entries) (length kept)))
         (text (mapconcat #'car kept "\n")))
    (when kept
      (let ((from-end (and (>= (point) (smtps-session--mark))
                           (- (point-max) (point)))))
        (smtps-session--quietly
          (save-excursion
            (goto-char (smtps-session--mark))
            (unless (eobp)
              (setq text (concat text "\n")))
            (insert text)))
        (when from-end
          (goto-char (- (point-max) from-end))))
      (setq buffer-undo-list nil))
    (when (> lost 0)
      (smtps-session--insert
       (format "! Not %skept: %d typed line%s of a login."
               (if doubtful "" "sent, and not ") lost (if (= lost 1) "" "s"))
       'smtps-session-refusal))))

(defun smtps-session--closed (sentence &optional doubtful)
  "The session is closed: show SENTENCE if that is why, and take the prompt away.
What was typed and not sent stays below, but for what may be a secret.  If
DOUBTFUL, what the helper was given may have been sent."
  (when (smtps-session--open-p)
    (let* ((due (smtps-session--due))
           (pending smtps-session--pending)
           (given (if doubtful (seq-count (lambda (entry) (nth 2 entry)) pending) 0)))
      (setf (alist-get smtps-session--number smtps-session--buffers nil t) nil)
      (smtps-session--forget 'closed)
      (cond (sentence
             (smtps-session--insert (concat "! " sentence) 'smtps-session-refusal))
            (smtps-session--hung-up
             (smtps-session--insert "- You have hung up" 'smtps-session-info)))
      (when due
        (smtps-session--erase-secret due))
      (smtps-session--give-back pending (> given 0))
      (when (> given 0)
        (smtps-session--insert
         (format "! The helper had taken %d typed line%s, and may have sent %s."
                 given (if (= given 1) "" "s") (if (= given 1) "it" "them"))
         'smtps-session-refusal))
      (when smtps-session--refused
        (smtps-session--insert
         "- t shows the certificate, and asks whether to trust its key all the same"
         'smtps-session-info))
      (smtps-session--insert
       (cond ((= (smtps-session--mark) (point-max))
              "- The session is closed; g connects again")
             ((> given 0)
              "- The session is closed; what follows is kept when g connects again")
             (t
              "- The session is closed; what follows was not sent, g connects again and keeps it"))
       'smtps-session-info)
      (smtps-session--hide-prompt)
      (use-local-map smtps-session-closed-map)
      (setq buffer-read-only t)
      (force-mode-line-update))))

(defun smtps-session--helper-died (sentence)
  "Tell in each open session SENTENCE, that the helper has died."
  (dolist (buffer (mapcar #'cdr smtps-session--buffers))
    (when (buffer-live-p buffer)
      (with-current-buffer buffer
        (smtps-session--closed sentence t))))
  (setq smtps-session--buffers nil))

(defun smtps-session--assert-open ()
  "Signal an error unless this session is open; what was typed stays."
  ;; It may have ended just now.  A new helper would not know us.
  (when (and smtps-session--number (not (smtps-helper-live-p)))
    (smtps-session--closed "The smtps helper has ended" t))
  (unless (smtps-session--open-p)
    (user-error (if (< (smtps-session--mark) (point-max))
                    "The session is closed; what you typed was not sent (g connects again)"
                  "The session is closed (g connects again)"))))

(provide 'smtps-session-end)
;;; smtps-session-end.el ends here
