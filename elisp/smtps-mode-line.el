;;; smtps-mode-line.el --- The mail under way, in the mode line  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; While mail is in the queue or being sent, each mode line has its
;; number; if something needs the user, an exclamation mark.  Whoever
;; knows of a change of the outbox runs `smtps-outbox-change-hook'; where
;; another process may change it, it is looked at now and then, and only
;; while there is something.

;;; Code:

(require 'cl-lib)
(require 'smtps)
(require 'smtps-outbox)
(require 'smtps-send)

(declare-function smtps-outbox "smtps-outbox-ui" ())
(declare-function smtps-outbox-edit-buffers "smtps-outbox-edit" ())

(defconst smtps-mode-line--pause 0.1
  "Seconds from a change to the look, so that many make one.")

(defconst smtps-mode-line--look-seconds 20
  "Seconds between looks while there is mail: other processes send, too.")

(defvar smtps-mode-line--text nil
  "What the mode line has of the outbox, or nil.")
;;;###autoload
(put 'smtps-mode-line--text 'risky-local-variable t)

(defconst smtps-mode-line--construct '(smtps-mode smtps-mode-line--text)
  "What is in `global-mode-string'.")

(defvar smtps-mode-line--timer nil
  "The timer of the next look, or nil.")

(defvar smtps-mode-line--seen nil
  "The mails in failed/ that the user has seen in the outbox.")

(defvar smtps-mode-line-map
  (let ((map (make-sparse-keymap)))
    (define-key map [mode-line mouse-1] #'smtps-attend)
    map)
  "Keymap of what the mode line has of the outbox.")

;;;###autoload
(defun smtps-mode-line-show (on)
  "Show in the mode lines what is under way if ON is non-nil, else no longer."
  (when smtps-mode-line--timer
    (cancel-timer smtps-mode-line--timer))
  (setq smtps-mode-line--timer nil
        smtps-mode-line--text nil
        global-mode-string (remove smtps-mode-line--construct
                                   (or global-mode-string '(""))))
  (if (not on)
      (remove-hook 'smtps-outbox-change-hook #'smtps-mode-line--look-soon)
    (setq global-mode-string
          (append global-mode-string (list smtps-mode-line--construct)))
    (add-hook 'smtps-outbox-change-hook #'smtps-mode-line--look-soon)
    (smtps-mode-line--look))
  (force-mode-line-update t))

(defun smtps-mode-line--look-soon ()
  "Have the outbox looked at soon."
  (smtps-mode-line--look-in smtps-mode-line--pause))

(defun smtps-mode-line--look-in (seconds)
  "Have the outbox looked at in SECONDS, or sooner if that is due already."
  (let ((time (time-add nil seconds)))
    (when (or (null smtps-mode-line--timer)
              (time-less-p time (timer--time smtps-mode-line--timer)))
      (when smtps-mode-line--timer
        (cancel-timer smtps-mode-line--timer))
      (setq smtps-mode-line--timer
            (run-at-time time nil #'smtps-mode-line--look)))))

(defun smtps-mode-line--look ()
  "Look at the outbox, and show what is under way."
  (setq smtps-mode-line--timer nil)
  (let* ((queue (smtps-outbox--names "queue"))
         (count (+ (length queue) (length (smtps-outbox--names "active"))))
         (needs (smtps-mode-line--needs queue))
         (text (and (or needs (> count 0))
                    (smtps-mode-line--format count needs))))
    (unless (equal-including-properties text smtps-mode-line--text)
      (setq smtps-mode-line--text text)
      (force-mode-line-update t))
    (when text
      (smtps-mode-line--look-in smtps-mode-line--look-seconds))))

(defvar smtps-mode-line--undecided nil
  "Of each mail in held/ whether its user has to decide about it.
That is an alist of (ID . TIME), the time of its directory, and t or nil.")

(defun smtps-mode-line--undecided-p ()
  "Return non-nil if there is mail that its user has to decide about."
  (setq smtps-mode-line--undecided
        (mapcar
         (lambda (id)
           (let* ((file-name-handler-alist nil)
                  (directory (smtps-outbox--directory "held" id))
                  (key (cons id (file-attribute-modification-time
                                 (file-attributes directory)))))
             (or (assoc key smtps-mode-line--undecided)
                 (cons key (smtps-outbox-undecided-p
                            `(:state held ,@(smtps-outbox-read directory)))))))
         (smtps-outbox--names "held")))
  (cl-some #'cdr smtps-mode-line--undecided))

(defun smtps-mode-line--needs (queue)
  "Return what needs the user, or nil if nothing does.
That is `answer', `interrupted', `decision', `failed' or `edit'.
QUEUE is the list of ids in queue/."
  (cond ((cl-some (lambda (waiting) (member (car waiting) queue))
                  smtps-send--waiting)
         'answer)
        ((and (smtps-send--interrupted-p) (smtps-outbox--names "active"))
         'interrupted)
        ((smtps-mode-line--undecided-p) 'decision)
        ((cl-set-difference (smtps-outbox--names "failed")
                            smtps-mode-line--seen :test #'equal)
         'failed)
        ((smtps-mode-line--edited) 'edit)))

(defun smtps-mode-line--edited ()
  "Return the buffers in which mail is edited that is held meanwhile."
  (and (featurep 'smtps-outbox-edit) (smtps-outbox-edit-buffers)))

(defun smtps-mode-line--format (count needs)
  "Return the text for COUNT mails of which one NEEDS the user, or none."
  (propertize
   (format " %s%s" (if (char-displayable-p ?✉) "✉" "M:") (if needs "!" count))
   'help-echo
   (concat (pcase needs
             ('answer "Mail waits for an answer of yours")
             ('interrupted "The helper died while it sent mail")
             ('decision "Mail is held, since a recipient was refused")
             ('failed "Mail could not be sent")
             ('edit "Mail is held while you edit it")
             (_ (if (= count 1) "A mail is under way"
                  (format "%d mails are under way" count))))
           "\nmouse-1, or M-x smtps-attend: see to it")
   'face (and needs 'warning)
   'mouse-face 'mode-line-highlight
   'local-map smtps-mode-line-map))

;;;###autoload
(defun smtps-attend ()
  "See to what is the matter with the outbox.
If mail waits for an answer, ask; if one is held since you edit it, show
where; else show the outbox."
  (interactive)
  (pcase (smtps-mode-line--needs (smtps-outbox--names "queue"))
    ('answer (smtps-answer))
    ('edit (pop-to-buffer (car (smtps-mode-line--edited))))
    (_ (smtps-outbox))))

(defun smtps-mode-line-seen ()
  "Note that the user sees the outbox now."
  (setq smtps-mode-line--seen (smtps-outbox--names "failed"))
  (smtps-mode-line--look-soon))

(provide 'smtps-mode-line)
;;; smtps-mode-line.el ends here
