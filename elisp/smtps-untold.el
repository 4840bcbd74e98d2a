;;; smtps-untold.el --- What became of mail while nobody looked  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; An Emacs hears nothing of its mail that another drainer of the outbox
;; sends, or that its helper finishes when it was killed.  Each mail that was
;; handed in from Emacs has an empty file `untold' until its fate was told:
;; whoever tells it takes that away, and so the next Emacs tells the rest,
;; once, however many share the outbox.  So it is with mail that was held
;; to be edited in an Emacs that is no more.

;;; Code:

(require 'cl-lib)
(require 'smtps)
(require 'smtps-outbox)
(require 'smtps-send)
(require 'smtps-afterwork)

(defconst smtps-untold--pause 10
  "Seconds from a mail's fate on in which it is left to who had it sent.")

(defconst smtps-untold--looked-at 1000
  "Mails of each state, the last ones, that are looked at.")

(defvar smtps-untold--timer nil
  "The timer of the next look, or nil.")

(defun smtps-untold--look-in (seconds)
  "Have the outbox looked at in SECONDS, unless that is to be done anyhow."
  (unless (memq smtps-untold--timer timer-list)
    (setq smtps-untold--timer (run-at-time seconds nil #'smtps-untold-tell))))

(defun smtps-untold--look-later ()
  "Have the outbox looked at when others may have sent what is in it."
  (smtps-untold--look-in smtps-send--look-seconds))

(defun smtps-untold--found ()
  "Return the mails whose fate is known and nobody was told."
  (cl-loop
   for state in '(sent held failed)
   append
   (cl-loop for id in (last (smtps-outbox--names (symbol-name state))
                            smtps-untold--looked-at)
            for entry = (and (smtps-outbox-untold-p
                              (smtps-outbox--directory (symbol-name state) id))
                             (smtps-outbox-find id))
            when (and entry
                      (not (plist-get entry :damaged))
                      (pcase (plist-get entry :state)
                        ((or 'sent 'failed) t)
                        ('held (smtps-outbox-undecided-p entry))))
            collect entry)))

(defun smtps-untold--tell-abandoned ()
  "Tell of the mails that are held for an Emacs that edited them and is gone."
  (dolist (id (last (smtps-outbox--names "held") smtps-untold--looked-at))
    (let* ((directory (smtps-outbox--directory "held" id))
           (name (smtps-outbox-edited directory)))
      (when (and name
                 (not (smtps-afterwork-lives-p (string-remove-prefix "edited." name)
                                               (concat directory "/" name)))
                 (smtps-outbox-edited-no-more directory))
        (smtps-send-tell
         (concat (smtps-send--label id)
                 (format-message "It is held, since it was being edited when \
Emacs ended: in M-x smtps-outbox, e edits it, h lets it go as it was, d deletes it")))))))

(defun smtps-untold--fresh-p (entry)
  "Return non-nil if ENTRY was changed so lately that it may be told elsewhere."
  (let ((attributes (file-attributes (plist-get entry :directory))))
    (and attributes
         (time-less-p nil (time-add (file-attribute-modification-time attributes)
                                    smtps-untold--pause)))))

;;;###autoload
(defun smtps-untold-tell ()
  "Tell what became of mail of which nobody was told, each once.
Look again later if some is under way still, or comes.  A key ends the look,
and it is done when Emacs is idle again."
  (when smtps-mode
    (add-hook 'smtps-outbox-change-hook #'smtps-untold--look-later)
    (smtps-untold--tell-abandoned)
    (let ((entries (while-no-input (smtps-untold--found))))
      (if (eq entries t)
          (run-with-idle-timer smtps-send--pause nil #'smtps-untold-tell)
        (let ((fresh (cl-remove-if-not #'smtps-untold--fresh-p entries)))
          (smtps-untold--tell
           ;; Who loses this race, says nothing.
           (cl-remove-if-not (lambda (entry)
                               (smtps-outbox-told (plist-get entry :id)))
                             (cl-set-difference entries fresh)))
          (cond
           (fresh (smtps-untold--look-in smtps-untold--pause))
           ((or (smtps-outbox--names "queue") (smtps-outbox--names "active"))
            (smtps-untold--look-later))))))))

(defun smtps-untold--tell (entries)
  "Tell what became of ENTRIES: what was sent in one sentence, the rest each."
  (let ((sent (cl-remove-if-not (lambda (entry)
                                  (eq (plist-get entry :state) 'sent))
                                entries)))
    (when (cdr sent)
      (smtps-send-tell
       (format "While nobody looked, %d mails were sent: M-x smtps-outbox lists them"
               (length sent))))
    (dolist (entry (if (cdr sent) (cl-set-difference entries sent) entries))
      (let ((id (plist-get entry :id)))
        (smtps-send-tell
         (concat (smtps-send--label id)
                 (or (smtps-send--sentence (smtps-untold--event entry))
                     "The mail was accepted.")))))))

(defun smtps-untold--event (entry)
  "Return the event that would have told what became of ENTRY."
  (let ((outcome (plist-get entry :outcome)))
    (list :id (plist-get entry :id)
          :state (plist-get entry :state)
          :verdict (if (plist-get entry :uncertain) 'uncertain
                     (plist-get outcome :verdict))
          :text (plist-get outcome :text)
          :waits (and (smtps-outbox-undecided-p entry) 'decision))))

(provide 'smtps-untold)
;;; smtps-untold.el ends here
